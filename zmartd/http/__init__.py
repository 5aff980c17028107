"""REST, WebSocket and webhook. See docs/architecture.md for its rooms."""
