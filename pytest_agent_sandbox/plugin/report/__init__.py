"""Reports of tests: their outcome, evidence and pages, on terminals and for other tools."""
