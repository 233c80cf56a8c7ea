"""An agent server that is running already, and that tests share."""
