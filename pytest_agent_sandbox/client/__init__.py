"""The agent server's protocol. Knows HTTP and WebSocket; has never heard of Docker or pytest."""
