"""Pages that a person opens: one for each failed test, and one for the run."""
