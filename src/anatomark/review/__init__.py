"""The page for looking at landmarks and correcting them, and what it keeps."""
