"""What is told of tests: their outcome, evidence and page, on terminals and for other tools."""
