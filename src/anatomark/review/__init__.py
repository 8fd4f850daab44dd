"""The page for viewing and correcting landmarks, and its record."""
