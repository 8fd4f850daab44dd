"""Bringing images into agreement: linear and free-form maps between their worlds, interest points, transfer."""
