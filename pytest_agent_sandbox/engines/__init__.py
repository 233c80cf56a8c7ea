"""What agent servers run in: one folder an engine, and none of them knows another."""
