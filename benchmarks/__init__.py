"""Measurements behind every number in our documents: `python -m benchmarks NAME`, a subject a file."""
