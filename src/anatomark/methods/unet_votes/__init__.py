"""The method unet-votes."""
