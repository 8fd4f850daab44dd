"""Training: the run folder, checkpoints, and one loop that reads from top to bottom."""
