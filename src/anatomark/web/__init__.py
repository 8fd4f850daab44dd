"""What a server of this package needs: who may ask, for which files, and how a refusal is told."""
