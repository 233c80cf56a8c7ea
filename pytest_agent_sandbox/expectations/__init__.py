"""Assertions about what an agent did, which say what came nearest where they do not hold."""
