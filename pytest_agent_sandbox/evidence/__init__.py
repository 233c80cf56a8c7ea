"""Evidence: what a test leaves behind, collected while it runs, shown where it has failed."""
