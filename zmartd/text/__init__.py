"""What people write, in all scripts: what of it can be read, and which texts look the same."""
