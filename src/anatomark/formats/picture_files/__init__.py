"""Pictures: PNG, JPEG, TIFF, BMP, WebP."""
