"""The doors: images, Slicer markups, tables. Nothing else touches a user's coordinates or voxels."""
