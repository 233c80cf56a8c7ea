"""Tests that are tried several times, as items and reports of pytest."""
