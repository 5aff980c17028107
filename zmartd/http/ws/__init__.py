"""WebSocket connections: their limits, frames of clients, and sessions that end."""
