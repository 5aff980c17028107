"""The RPC methods, by group."""
