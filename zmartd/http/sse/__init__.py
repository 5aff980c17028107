"""The streams of markets as Server-Sent Events, for clients without a WebSocket."""
