"""What goes over the WebSocket, as a document for programs and a page for people."""
