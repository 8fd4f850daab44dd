"""Localization by heatmaps of a U-Net, the common way: the baseline that the other methods are compared with."""
