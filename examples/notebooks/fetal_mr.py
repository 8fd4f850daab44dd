# %% [markdown]
# # Notebook: real MR volumes
#
# [The tutorial with fetal MR](../../docs/tutorials/fetal_mr.md) in Python: 15 volumes with 7 landmarks, which come with
# the package.

# %%
from PIL import Image

import anatomark

description = anatomark.copy_fetal_mr("fetal")
dataset = anatomark.load_dataset(description)
{split: len(dataset.split(split)) for split in dataset.splits}

# %% [markdown]
# Arrays are (slices, rows, columns); points are LPS millimetres, whatever the axes of the file are.

# %%
case = dataset.split("test")[2]
volume = case.read_image()
print(case.id, volume.grid.shape, volume.grid.spacing)
case.reference["posterior_tectum_edge"], volume.grid.world_to_index(case.reference["posterior_tectum_edge"])

# %% [markdown]
# Train for four minutes. In the meantime, `runs/fetal/validation_votes.jpg` shows what the network finds in two
# validation cases, as of the last validation.

# %%
run = anatomark.train(dataset, out="runs/fetal", method="unet-votes", settings={"minutes": 4})
Image.open("runs/fetal/validation_votes.jpg")

# %% [markdown]
# Predict the test volumes. The picture has three projections, and the slices through the least certain landmarks.

# %%
summary = anatomark.predict_to_folder(run, [description], out="predicted", split="test")
Image.open(f"predicted/overlays/{case.id}.png")

# %% [markdown]
# The error, beside that of the mean shape, which is what one finds without looking at the image.

# %%
scores = anatomark.evaluate(dataset, summary.table, split="test", out="evaluation")
print(f"{scores.overall.mre:.2f} {scores.unit}, mean shape {scores.mean_shape.overall.mre:.2f} {scores.unit}")
for name, landmark in scores.landmarks.items():
    print(f"{name}: {landmark.mre:.2f} {scores.unit}")
