"""Agent servers as processes of this machine, nothing isolated."""
