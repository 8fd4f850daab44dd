"""Two-stage task-oriented networks (T2DL): stage 1 learns from patches, stage 2 finds all landmarks jointly.

Zhang, Liu, Shen, IEEE TIP 26(10):4753-4764, 2017, doi 10.1109/TIP.2017.2721106.

Beside index and world there is a third frame here, the *grid frame*, because votes need lengths, and networks see no
affine: points along the array axes from the first element of the image, in world units. That is the index times the
spacing. Such points are called `points_grid_mm`, in mm (or px where the spacing is unknown).
"""
