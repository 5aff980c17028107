"""The program on Solana: its IDL, instructions, events and accounts, the RPC client, and the sender."""
