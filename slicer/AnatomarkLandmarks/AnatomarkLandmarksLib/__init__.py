"""What the module does that needs no Slicer: it can be tested, and used, with any Python."""
