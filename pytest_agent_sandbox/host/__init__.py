"""What the package asks of the machine that it runs on, whatever the engine."""
