"""What load balancers, Helius and the operator call."""
