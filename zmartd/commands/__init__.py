"""The commands of `zmartd`: a module for each group, with what it does and prints."""
