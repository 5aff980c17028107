"""The methods of the HTTP door, by group."""
