# %% [markdown]
# # Notebook: a first model
#
# [The first tutorial](../../docs/tutorials/first_model.md) in Python: synthetic images, a short training, predictions
# and their error. It needs no data and no GPU.

# %%
from PIL import Image

import anatomark

description = anatomark.make_phantoms("phantoms", cases=60)
dataset = anatomark.load_dataset(description)
len(dataset.cases), dataset.names

# %% [markdown]
# One image and its landmarks, in millimetres:

# %%
case = dataset.split("test")[0]
image = case.read_image()
print(image.grid.shape, image.grid.spacing, image.grid.unit)
for name, point in zip(case.reference.names, case.reference.points, strict=True):
    print(name, point.round(1))

# %% [markdown]
# Data sets have faults; `check` finds many of them. Here there is none.

# %%
anatomark.check(dataset)

# %% [markdown]
# Train for three minutes. The run folder that comes out is the model.

# %%
run = anatomark.train(dataset, out="runs/first", method="unet-votes", settings={"minutes": 3})
model = anatomark.load(run)

# %% [markdown]
# Predict one image. A landmark that is probably not in the image has a low presence; nine of ten errors are below their
# bound.

# %%
prediction = model.predict(image)
for name, presence, bound in zip(model.names, prediction.presence, prediction.error_bound, strict=True):
    print(f"{name}: {prediction.landmarks[name].round(1)}, presence {presence:.2f}, error below {bound:.1f} mm")

# %% [markdown]
# Predict all test images, with a picture of each: crosses are predictions, circles their error bounds.

# %%
summary = anatomark.predict_to_folder(run, [description], out="predicted", split="test")
Image.open(f"predicted/overlays/{case.id}.png")

# %% [markdown]
# And the error, with its 95 % interval. `evaluation/report.html` has it landmark by landmark.

# %%
scores = anatomark.evaluate(dataset, summary.table, split="test", out="evaluation")
overall = scores.overall
low, high = overall.mre_interval
print(f"mean radial error {overall.mre:.2f} {scores.unit}, 95 % interval {low:.2f} to {high:.2f}")
