"""What is true of any sandbox: its workspace, its server, its way to the LLM gateway."""
