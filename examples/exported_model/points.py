"""Points by an exported model without anatomark: what docs/export.md says, with numpy, scipy and onnxruntime alone.

    python points.py EXPORTED IMAGE.nii.gz

prints a line for each landmark: name, coordinates (LPS), presence, spread. SimpleITK reads the image; `find` takes any
array with its affine, which maps an index (array-axis order) to the world. Aligned models need a registration, which is
not here; presence is that of the votes, without what `in_view` knows of the other landmarks.
"""

import json
import math
import sys
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime
from scipy import ndimage


def find(folder, array, affine):
    """Points (N, d) in the world of `affine`, presence (N,) and spread (N,) of the landmarks of an exported model."""
    told = json.loads((Path(folder) / "export.json").read_text())
    if told["format"] != 1 or told["working_image"]["alignment"] is not None:
        raise ValueError("another format, or a model that aligns its images")
    graphs = {}
    for name, graph in told["graphs"].items():
        session = onnxruntime.InferenceSession(Path(folder) / graph["file"], providers=["CPUExecutionProvider"])
        graphs[name] = partial(run, session, list(graph["inputs"]))
    image = WorkingImage(told["working_image"], array, affine)
    answers = METHODS[told["method"]](told["geometry"], graphs, image, len(told["landmarks"]))
    points, spread, _ = answers[-1]
    mass = np.clip([mass for _, _, mass in answers], 1e-4, 1 - 1e-4)
    score = told["presence"]["weights"] @ np.log(mass / (1 - mass)) + told["presence"]["bias"]
    return points, 1 / (1 + np.exp(-score)), spread


def run(session, names, *arrays):
    return session.run(None, dict(zip(names, arrays, strict=True)))


# --- before -----------------------------------------------------------------------------------------------------------


def otsu_threshold(sample, low, high, bins):
    """The grey value between the two that parts the sample into the groups that differ most."""
    counts, edges = np.histogram(np.clip(sample, low, high), bins=bins, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    share, mean = np.cumsum(counts)[:-1] / counts.sum(), np.cumsum(counts * middles) / counts.sum()
    apart = (mean[-1] * share - mean[:-1]) ** 2
    between = np.divide(apart, share * (1 - share), out=np.zeros_like(apart), where=(share > 0) & (share < 1))
    return edges[1 + int(np.flatnonzero(between >= between.max()).mean())]


class WorkingImage:
    """Grey values of the fine and the coarse level, 0 and 1 at the percentiles, with the affine of each."""

    def __init__(self, told, array, affine):
        array, affine = canonical(array, affine)
        d = array.ndim
        step = max(1, math.ceil((array.size / told["percentile_samples"]) ** (1 / d)))
        sample = array[(slice(None, None, step),) * d]
        low, high = np.percentile(sample, told["percentiles"])
        if high <= low:
            low, high = sample.min(), sample.max()
        if told["grey_values"] == "foreground":
            brighter = sample[sample > otsu_threshold(sample, low, high, told["bins"])]
            high = max(high, np.percentile(brighter, told["percentiles"][1]))
        old, spacing = lengths(affine), np.array(told["spacing"])
        shape = np.maximum(1, np.round(np.array(array.shape) * old / spacing)).astype(int)
        scale = spacing / old
        sigma = 0.5 * np.sqrt(np.maximum(scale**2 - 1, 0))
        values = array.astype(np.float32)
        if not np.allclose(scale, 1, rtol=0, atol=1e-12):
            if (sigma > 0.05).any():
                values = ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=3)
            values = ndimage.affine_transform(
                values, scale, 0.5 * scale - 0.5, output_shape=tuple(shape), order=1, mode="nearest", output=np.float32
            )
        if array.dtype == np.uint8:
            stored = np.clip(np.round(values), 0, 255).astype(np.uint8)
        else:
            stored = np.clip((values - low) / (high - low), *told["scaled_range"]).astype(np.float16)
            low, high = 0, 1
        coarse, pool = stored, np.array(told["pool"])
        if (pool > 1).any():
            padded = np.pad(stored, [(0, -n % f) for n, f in zip(stored.shape, pool, strict=True)], mode="edge")
            split = [part for n, f in zip(padded.shape, pool, strict=True) for part in (n // f, f)]
            coarse = padded.reshape(split).mean(axis=tuple(range(1, 2 * d, 2)), dtype=np.float32)
            coarse = (np.round(coarse) if stored.dtype == np.uint8 else coarse).astype(stored.dtype)
        self.fine, self.coarse = ((v.astype(np.float32) - low) / (high - low) for v in (stored, coarse))
        self.fine_affine = scaled(affine, scale)
        self.coarse_affine = scaled(self.fine_affine, pool)


def canonical(array, affine):
    """Array axes nearest to z, y, x of the world, increasing."""
    d = array.ndim
    strength = np.abs(affine[:d, :d] / lengths(affine)).round(9)
    order, rows, columns = [0] * d, set(range(d)), set(range(d))
    while rows:
        row, column = max(product(rows, columns), key=lambda rc: (strength[rc], -rc[0], rc[1]))
        order[d - 1 - row] = column
        rows.remove(row)
        columns.remove(column)
    array, affine = array.transpose(order), affine[:, [*order, d]].copy()
    for axis in range(d):
        if affine[d - 1 - axis, axis] < 0:
            affine[:, d] += affine[:, axis] * (array.shape[axis] - 1)
            affine[:, axis] *= -1
            array = np.flip(array, axis)
    return array, affine


def lengths(affine):
    """The spacing (d,) along the array axes."""
    return np.linalg.norm(affine[:-1, :-1], axis=0)


def scaled(affine, scale):
    """The affine of elements `scale` (d,) times as large, whose outer border begins at the same place."""
    new = affine.copy()
    new[:-1, :-1] = affine[:-1, :-1] * scale
    new[:-1, -1] = to_world(affine, 0.5 * np.asarray(scale) - 0.5)
    return new


def to_world(affine, index):
    return index @ affine[:-1, :-1].T + affine[:-1, -1]


def to_index(affine, world):
    return (world - affine[:-1, -1]) @ np.linalg.inv(affine[:-1, :-1]).T


def placed(values, size, at=0):
    """(1, 1, *size) with `values` from the element `at` on, along each axis, and 0 elsewhere."""
    whole = np.zeros((1, 1, *size), np.float32)
    whole[(0, 0, *(slice(at, at + n) for n in values.shape))] = values
    return whole


def windows(values, first, size):
    """(K, *size) from the elements `first` (K, d) on; 0 outside."""
    found = np.zeros((len(first), *size), np.float32)
    for window, start in zip(found, first, strict=True):
        inside = [(max(a, 0), min(a + w, n)) for a, w, n in zip(start, size, values.shape, strict=True)]
        if all(low < high for low, high in inside):
            into = tuple(slice(low - a, high - a) for (low, high), a in zip(inside, start, strict=True))
            window[into] = values[tuple(slice(*ends) for ends in inside)]
    return found


# --- after ------------------------------------------------------------------------------------------------------------


def voted(logits, encoded, patch, corner, affine, total=1.0):
    """Points (K, d) world, spread and posterior mass (K,) of votes (1, K, *grid) of windows that begin at (K, d)."""
    posterior = 1 / (1 + np.exp(-logits[0].astype(float)))
    k, d = posterior.shape[0], posterior.ndim - 1
    patch = np.broadcast_to(patch, d)
    centers = np.indices(posterior.shape[1:]).reshape(d, -1) * patch[:, None] + (patch[:, None] - 1) / 2
    code = encoded[0].astype(float).reshape(k, d, -1)
    index = np.sign(code) * np.expm1(np.minimum(np.abs(code), 5) * math.log(10)) + centers
    weights = posterior.reshape(k, 1, -1) / posterior.reshape(k, 1, -1).sum(-1, keepdims=True)
    mean = (index * weights).sum(-1)
    away = (index - mean[..., None]) * lengths(affine)[:, None]
    spread = np.sqrt(((away**2).sum(1) * weights[:, 0]).sum(-1))
    return to_world(affine, mean + corner), spread, largest_sum(posterior / total)


def largest_sum(posterior):
    """(K,) the largest sum over a 3^d neighbourhood, at most 1."""
    sums = [ndimage.convolve(one, np.ones((3,) * one.ndim), mode="constant") for one in posterior]
    return np.minimum([one.max() for one in sums], 1)


def chosen(better, new, old):
    return np.where(better[:, None], new[0], old[0]), np.where(better, new[1], old[1])


# --- the methods ------------------------------------------------------------------------------------------------------


def global_to_local(told, graphs, image, count):
    stride, affine = told["global"]["stride"], image.coarse_affine
    size = [stride * math.ceil(n / stride) for n in image.coarse.shape]
    logits, encoded, _ = graphs["global"](placed(image.coarse, size))
    answers = [voted(logits, encoded, stride, 0, affine)]
    if (local := told.get("local")) is None:
        return answers
    window, affine, answer = np.array(local["window"]), image.fine_affine, answers[0]
    for _ in range(local["looks"]):
        center = np.clip(to_index(affine, answer[0]), 0, np.array(image.fine.shape) - 1)
        start = np.floor(center - (window - 1) / 2 + 0.5).astype(int)
        parts = []
        for number, first in enumerate(range(0, count, local["landmarks_per_call"])):
            some = np.arange(first, min(first + local["landmarks_per_call"], count))
            seen = windows(image.fine, start[some], window)[None]
            found = graphs[f"local_{number + 1}"](seen)
            parts.append(voted(*found, local["stride"], start[some], affine))
        points, spread, mass = (np.concatenate(part) for part in zip(*parts, strict=True))
        inside = to_index(affine, points) - start
        better = ((inside >= -0.5) & (inside <= window - 0.5)).all(1) & (mass >= local["least_posterior_mass"])
        answer = *chosen(better, (points, spread), answer), mass
    return [*answers, answer]


def two_stage(told, graphs, image, count):
    stride, margin, affine = told["joint"]["stride"], told["joint"]["margin"], image.fine_affine
    spacing = lengths(affine).astype(np.float32)
    size = [stride * math.ceil(n / stride) + 2 * margin for n in image.fine.shape]
    padded = placed(image.fine, size, margin)
    points, spread, logits, _ = graphs["joint"](padded)
    found = [(points, logits)]
    if (look := told.get("refinement")) is not None:
        elements, window = np.array(look["elements"]), np.array(look["window"])
        padded = placed(padded[0, 0], np.maximum(size, elements))
        last = np.maximum((np.array(padded.shape[2:]) - 2 * look["crop"]) // look["stride"] - window, 0)
        middle = (points[0] / spacing + margin - look["crop"] - (look["stride"] - 1) / 2) / look["stride"]
        first = np.clip(np.round(middle - (window - 1) / 2).astype(int), 0, last) * look["stride"]
        seen = windows(padded[0, 0], first, elements)[None, :, None]
        refined, spread, logits = graphs["refinement"](seen, (first + look["crop"] - margin)[None], points, spread)
        found.append((refined, logits))
    return [
        (to_world(affine, at[0] / spacing), spread[0], largest_sum(1 / (1 + np.exp(-logits[0].astype(float)))))
        for at, logits in found
    ]


def unet_votes(told, graphs, image, count):
    affine, look, over, joint = image.fine_affine, told["local"], told["global"], told.get("joint_choice")
    total = (math.sqrt(2 * math.pi) * told["class_sigma"]) ** image.fine.ndim
    patch, window = np.array(look["patch"]), np.array(look["window"])
    found = []
    for start, size, _ in passes(image.fine.shape, over):
        logits, encoded, features, _ = graphs["global"](seen_in(image, start, size))
        first = answer = voted(logits, encoded, over["patch"], start, affine, total)
        if joint is not None:
            modes = modes_of(joint, logits, encoded, np.array(over["patch"]), start, affine, total)
            if (choice := choose(joint, *modes, np.mean(over["patch"] * lengths(affine)))) is not None:
                first = answer = choice[0], *first[1:]
        at = first[0]
        for number in range(look["looks"]):
            if joint is not None and number:
                single = answer[0][:, None], answer[2][:, None]
                if (choice := choose(joint, *single, joint["near"] * np.mean(patch * lengths(affine)))) is not None:
                    alone = (choice[1] < joint["trusted"])[:, None]
                    at, answer = np.where(alone, choice[0], at), (np.where(alone, choice[0], answer[0]), *answer[1:])
            expected = (to_index(affine, at) - start - (patch - 1) / 2) / patch
            middle = (to_index(affine, answer[0]) - start - (patch - 1) / 2) / patch
            corner = np.round(middle - (window - 1) / 2).astype(int)
            corner = np.clip(corner, 0, np.array(features.shape[2:]) - window)
            near = graphs["local"](features, np.arange(count), corner[None], expected[None].astype(np.float32))
            points, spread, mass = voted(*near, patch, corner * patch + start, affine, total)
            inside = (to_index(affine, points) - start + 0.5) / patch - corner
            better = ((inside >= 0) & (inside <= window)).all(1) & (mass >= look["least_posterior_mass"])
            answer = *chosen(better, (points, spread), answer), mass
        found.append((first, answer))
    return [most_mass(answers) for answers in zip(*found, strict=True)]


def modes_of(joint, logits, encoded, patch, start, affine, total):
    """Places (N, modes, d) world and mass (N, modes) of the modes of the votes of one pass."""
    d = encoded.shape[2]
    weights = (1 / (1 + np.exp(-logits[0].astype(float)))).reshape(len(logits[0]), -1) / total
    order = np.argsort(-weights, axis=1, kind="stable")[:, : joint["mode_patches"]]
    centers = np.indices(logits.shape[2:]).reshape(d, -1) * patch[:, None] + (patch[:, None] - 1) / 2
    code = encoded[0].astype(float).reshape(len(weights), d, -1)
    votes = np.sign(code) * np.expm1(np.minimum(np.abs(code), 5) * math.log(10)) + centers
    votes = to_world(affine, np.take_along_axis(votes, order[:, None], 2).transpose(0, 2, 1) + start)
    left = np.take_along_axis(weights, order, 1)
    whole, rows = np.minimum(left.sum(1), 1), np.arange(len(left))
    apart = ((votes[:, :, None] - votes[:, None]) ** 2).sum(3)
    kernel = np.exp(-apart / 2 / np.mean(patch * lengths(affine)) ** 2)
    places, mass = [], []
    for _ in range(joint["modes"]):
        near = kernel[rows, np.einsum("nij,nj->ni", kernel, left).argmax(1)]
        mass.append((left * near).sum(1))
        places.append(((left * near)[..., None] * votes).sum(1) / np.maximum(mass[-1], 1e-300)[:, None])
        left = left * (1 - np.minimum(1, joint["taken"] * near))
    mass = np.stack(mass, 1)
    return np.stack(places, 1), mass / np.maximum(mass.sum(1, keepdims=True), 1e-300) * whole[:, None]


def choose(joint, places, mass, patch):
    """For each landmark the place (N, d) that its modes and the others come to, and how far to trust it (N,).

    None where too few agree.
    """
    known, fewest = np.array(joint["noise"]) > 0, places.shape[2] + 2
    if known.sum() < fewest:
        return None
    shape = {name: np.array(joint[name]) for name in ("mean", "axes", "noise")}
    shape |= {"mean": shape["mean"][known], "axes": shape["axes"][:, known], "noise": shape["noise"][known]}
    found, trusted = choose_known(joint, shape, places[known], mass[known], patch)
    if (trusted >= joint["trusted"]).sum() < max(fewest, joint["agreeing"] * known.sum()):
        return None
    chosen, trust = places[:, 0].copy(), np.ones(len(places))
    chosen[known], trust[known] = found, trusted
    return chosen, trust


def choose_known(joint, shape, places, mass, patch):
    (n, k, d), rng = places.shape, np.random.default_rng(0)
    mean, axes, noise, error = shape["mean"], shape["axes"], shape["noise"], joint["error"]
    unit = patch / math.exp(joint["size"][0])
    variance = (axes**2).sum((0, 2)) / d + noise
    count = joint["poses"] if k > 1 else joint["poses"] // 10
    share = mass / np.maximum(mass.sum(1, keepdims=True), 1e-300)
    few = rng.random((count, n)).argsort(1)[:, : d + 1]
    which = (rng.random((count, d + 1, 1)) > share.cumsum(1)[few]).sum(2).clip(max=k - 1)
    poses = [similarity(mean[f], places[f, w], np.ones(d + 1)) for f, w in zip(few, which, strict=True)]
    some, costs = slice(None, None, math.ceil(n / joint["judging"])), []
    for pose in poses:
        apart = ((laid(pose, places[some]) - mean[some, None]) ** 2).sum(2)
        fitting = mass[some] * np.exp(-apart / 2 / (variance[some, None] + (error["start"] * unit) ** 2))
        costs.append(strangeness(joint, pose) - np.log(fitting.sum(1) + joint["nowhere"]).sum())
    order = np.argsort(costs, kind="stable")[: joint["refined"]]
    best = -math.inf, (places[:, 0], np.zeros(n))
    for pose in (similarity(mean, places[:, 0], mass[:, 0] + 1e-12), *(poses[i] for i in order)):
        found = refined(joint, shape, places, mass, pose, unit)
        best = max(best, found, key=lambda one: one[0])
        if (found[1][1] >= joint["trusted"]).all():
            break
    return best[1]


def refined(joint, shape, places, mass, pose, unit):
    """The logarithmic probability of a pose when refined, and what is chosen by it."""
    d, mean, axes, noise = places.shape[2], shape["mean"], shape["axes"], shape["noise"]
    told, expected, variance = joint["error"], mean, (axes**2).sum((0, 2)) / d + noise
    error, unlikely, eye = (told["start"] * unit) ** 2, 0.0, np.eye(len(axes))
    for _ in range(joint["rounds"]):
        taken, trust, _ = matched(joint, places, mass, pose, expected, variance + error)
        weights = trust / (noise + error)
        weighted = axes * weights[:, None]
        along = np.einsum("knd,nd->nk", weighted, taken - mean)
        moments = np.einsum("knd,lnd->nkl", weighted, axes)
        every = moments.sum(0) + eye
        others = np.linalg.solve(every - moments, (along.sum(0) - along)[..., None])[..., 0]
        expected = mean + np.einsum("nk,knd->nd", others, axes)
        solved = np.linalg.solve(every - moments, axes.transpose(1, 0, 2))
        variance = np.einsum("knd,nkd->n", axes, solved) / d + noise
        most = np.linalg.solve(every, along.sum(0))
        unlikely = most @ most / 2
        back = pose[0] * (taken @ pose[1].T) + pose[2]
        pose = similarity(mean + np.einsum("k,knd->nd", most, axes), back, weights + 1e-12)
        if (agreeing := trust >= joint["trusted"]).any():
            error = np.median((((taken - expected) ** 2).sum(1) / told["median"] - variance)[agreeing])
        error = min(max(error, (told["least"] * unit) ** 2), (told["most"] * unit) ** 2)
    taken, trust, fitting = matched(joint, places, mass, pose, expected, variance + error)
    both = expected + (trust * variance / (variance + error))[:, None] * (taken - expected)
    probability = np.log(fitting + joint["nowhere"]).sum() - unlikely - strangeness(joint, pose)
    return probability, (pose[0] * (both @ pose[1].T) + pose[2], trust)


def matched(joint, places, mass, pose, expected, variance):
    at = laid(pose, places)
    apart = ((at - expected[:, None]) ** 2).sum(2) / variance[:, None]
    fitting = (mass * np.exp(-apart / 2)).sum(1)
    which = np.argmax(np.log(mass + 1e-12) - apart / 2, axis=1)
    return at[np.arange(len(at)), which], fitting / (fitting + joint["nowhere"]), fitting


def laid(pose, places):
    return (places - pose[2]) @ pose[1] / pose[0]


def similarity(source, target, weights):
    """Scale, rotation and offset that lay points (N, d) onto others with weights (N,), by least squares."""
    share = weights / weights.sum()
    a, b = source - share @ source, target - share @ target
    u, s, vt = np.linalg.svd((share[:, None] * b).T @ a)
    s[-1], u[:, -1] = s[-1] * np.sign(np.linalg.det(u @ vt)), u[:, -1] * np.sign(np.linalg.det(u @ vt))
    scale = max(s.sum(), 1e-300) / max(share @ (a**2).sum(1), 1e-300)
    return scale, u @ vt, share @ target - scale * (u @ vt @ (share @ source))


def strangeness(joint, pose):
    (size, spread), freedom = joint["size"], joint["freedom"]
    return (freedom + 1) / 2 * math.log1p(((math.log(pose[0]) - size) / spread) ** 2 / freedom)


def heatmap(told, graphs, image, count):
    affine, maps = image.fine_affine, told["heatmaps"]
    stride, spacing = np.array(maps["stride"]), lengths(image.fine_affine) * maps["stride"]
    sigma = np.maximum(maps["smallest_sigma_elements"], maps["sigma"] / spacing)
    radius = np.maximum(1, np.round(maps["peak_window"] * sigma)).astype(int)
    found = []
    for start, size, inside in passes(image.fine.shape, told["features"]):
        features, _ = graphs["features"](seen_in(image, start, size))
        cells = tuple(slice(math.ceil(n / s)) for n, s in zip(inside, stride, strict=True))
        (logits,) = graphs["heatmaps"](np.ascontiguousarray(features[(..., *cells)]), np.arange(count))
        peaks = [peak(one.astype(float), maps, sigma, radius, spacing) for one in logits[0]]
        points, spread, mass = (np.array(part) for part in zip(*peaks, strict=True))
        found.append((to_world(affine, points * stride + (stride - 1) / 2 + start), spread, mass))
    return [most_mass(found)]


def peak(logits, maps, sigma, radius, spacing):
    """The point of a heatmap, in its elements, its spread in world units, and the density around the maximum."""
    if maps["loss"] == "binary":
        density = 1 / (1 + np.exp(-logits)) / np.prod(math.sqrt(2 * math.pi) * sigma)
    else:
        density = np.exp(logits - np.logaddexp(np.logaddexp.reduce(logits.ravel()), 0))
    top = np.array(np.unravel_index(density.argmax(), density.shape))
    low, high = np.maximum(top - radius, 0), np.minimum(top + radius + 1, density.shape)
    around = density[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    index = np.indices(density.shape)
    near = np.indices(around.shape) + low.reshape(-1, *(1,) * around.ndim)
    point = (near * around).reshape(around.ndim, -1).sum(1) / around.sum()
    large = np.where(density >= maps["relevant"] * density.max(), density, 0)
    away = (index - point.reshape(-1, *(1,) * around.ndim)) * spacing.reshape(-1, *(1,) * around.ndim)
    return point, math.sqrt(((away**2).sum(0) * large).sum() / large.sum()), min(around.sum(), 1)


def passes(shape, told):
    """(start, size, elements inside the image) of each pass of a U-Net over an image."""
    crop, stride = told["crop"], told["stride"]
    if all(n <= told["one_pass"] * c for n, c in zip(shape, crop, strict=True)):
        size = [s * math.ceil(max(n, c) / s) for n, c, s in zip(shape, crop, stride, strict=True)]
        return [(np.zeros(len(crop), int), size, shape)]
    starts = []
    for n, c in zip(shape, crop, strict=True):
        count = 1 + math.ceil(max(0, n - c) / (c * (1 - told["overlap"])))
        starts.append([round(k * max(0, n - c) / max(1, count - 1)) for k in range(count)])
    return [(np.array(start), crop, np.minimum(crop, np.array(shape) - start)) for start in product(*starts)]


def seen_in(image, start, size):
    return placed(image.fine[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))], size)


def most_mass(answers):
    """Of the answers of all passes, for each landmark the one with the most mass, the first of equal ones."""
    best = np.argmax([mass for _, _, mass in answers], axis=0)
    return tuple(np.stack(part)[best, np.arange(len(best))] for part in zip(*answers, strict=True))


METHODS = {"global-to-local": global_to_local, "two-stage": two_stage, "unet-votes": unet_votes, "heatmap": heatmap}


def main(folder, file):
    import SimpleITK as sitk

    image = sitk.ReadImage(file)
    d = image.GetDimension()
    affine = np.eye(d + 1)
    affine[:-1, :-1] = (np.array(image.GetDirection()).reshape(d, d) * image.GetSpacing())[:, ::-1]
    affine[:-1, -1] = image.GetOrigin()
    points, presence, spread = find(folder, sitk.GetArrayFromImage(image), affine)
    names = json.loads((Path(folder) / "export.json").read_text())["landmarks"]
    for name, point, present, wide in zip(names, points, presence, spread, strict=True):
        print(name, *(f"{value:.3f}" for value in (*point, present, wide)))


if __name__ == "__main__":
    main(*sys.argv[1:])
