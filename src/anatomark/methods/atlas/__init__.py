"""Landmark transfer by image registration: the classical competitor that learns nothing by gradient steps."""
