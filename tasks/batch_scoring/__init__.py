"""Scoring many files with one release: streaming, resumable, in memory that does not grow with their number."""
