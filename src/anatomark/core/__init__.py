"""The nouns: Grid, Image, Landmarks. No files, no networks."""
