"""The formats of landmark files, one a file; `formats.known` lists them."""
