"""Data sets: description, checks, splits by subject, prepared cache, augmentation, phantoms."""
