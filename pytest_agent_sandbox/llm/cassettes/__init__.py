"""LLM calls recorded once and replayed ever after; what makes two requests the same."""
