"""`anatomark serve`: predictions for other programs, over HTTP."""
