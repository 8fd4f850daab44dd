"""The drawings of the documentation: `python -m website.drawings` writes docs/drawings/*.svg."""
