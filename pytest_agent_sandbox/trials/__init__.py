"""Trials: the same test several times, and one verdict for all. Knows neither pytest nor Docker."""
