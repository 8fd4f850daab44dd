# %% [markdown]
# # Notebook: is one method better?
#
# Two methods learn for the same time from the same images, and are compared on the same test images, paired by subject.
# [Write a paper's tables](../../docs/how_to/paper.md) says what the numbers mean.

# %%
import anatomark

description = anatomark.make_phantoms("phantoms", cases=60)
dataset = anatomark.load_dataset(description)

# %%
tables = {}
for method in ("unet-votes", "global-to-local"):
    run = anatomark.train(dataset, out=f"runs/{method}", method=method, settings={"minutes": 2})
    tables[method] = anatomark.predict_to_folder(run, [description], out=f"predicted/{method}", split="test").table

# %%
compared = anatomark.compare(dataset, list(tables.values()), names=list(tables), split="test", out="comparison")
print(*compared.sentences, sep="\n")
