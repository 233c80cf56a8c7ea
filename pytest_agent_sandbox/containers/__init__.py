"""The engine, its images and its containers. Knows Docker; has never heard of agents."""
