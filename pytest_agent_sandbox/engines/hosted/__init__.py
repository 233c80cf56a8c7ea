"""Agent servers that somebody else runs for us, behind an API."""
