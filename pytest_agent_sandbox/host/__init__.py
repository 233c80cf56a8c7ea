"""The machine that the package runs on, whatever the engine."""
