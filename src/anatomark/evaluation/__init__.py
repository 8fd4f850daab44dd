"""Scores: rows of errors, metrics, the mean-shape baseline, pictures and the report."""
