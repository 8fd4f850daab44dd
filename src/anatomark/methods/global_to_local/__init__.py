"""Global-to-local localization by regression and classification of patches.

Noothout et al., IEEE TMI 39(12):4011-4022, 2020 (arXiv 2007.05295).
"""
