"""Small networks, one a file. Only `layers` knows whether an image has two dimensions or three."""
