"""What a test leaves behind: collected while it runs, rendered when it has failed."""
