"""A made-up data set with everything that an evaluation has numbers for, and predictions by two methods; no images."""

from pathlib import Path

import numpy as np

NAMES = ("a", "b", "c", "d", "e")


def make(folder: Path, *, cases: int = 40, seed: int = 3) -> Path:
    """dataset.yaml, landmarks.csv (two observers), ours.csv (presence, spread, bounds) and theirs.csv in `folder`."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"p{k % (cases * 2 // 3):04d}_{k:04d}" for k in range(cases)]
    truth = random.uniform(-90, 90, (cases, len(NAMES), 3))
    (folder / "dataset.yaml").write_text(
        f"name: made_up\ndimension: 3\nlandmarks: [{', '.join(NAMES)}]\nimages: {{cases: annotations}}\n"
        "subjects: {pattern: '^(p[0-9]+)_'}\nannotations: {table: landmarks.csv, frame: LPS}\n"
        "measurements:\n- {name: ab, kind: distance, points: [a, b]}\n"
    )
    lines = ["image,landmark,x,y,z,observer,state"]
    for observer in ("first", "second"):
        seen = truth + random.normal(0, 0.4, truth.shape)
        for k, name in np.ndindex(cases, len(NAMES)):
            chance = random.random()
            if chance < 0.08:
                lines.append(f"{ids[k]},{NAMES[name]},,,,{observer},absent")
            elif chance < 0.95:
                lines.append(f"{ids[k]},{NAMES[name]},{_xyz(seen[k, name])},{observer},present")
    (folder / "landmarks.csv").write_text("\n".join(lines) + "\n")
    for method, scale in (("ours", 1.0), ("theirs", 1.3)):
        lines = ["image,landmark,x,y,z,frame,unit,presence,spread,error_bound_mm"]
        found = truth + random.normal(0, scale, truth.shape)
        for k, name in np.ndindex(cases, len(NAMES)):
            if random.random() < 0.97 and k != cases - 1:
                more = f"{random.random() ** 0.2:.4f},{random.gamma(2, scale):.4f},{random.uniform(1, 5):.4f}"
                lines.append(f"{ids[k]},{NAMES[name]},{_xyz(found[k, name])},LPS,mm,{more}")
        (folder / f"{method}.csv").write_text("\n".join(lines) + "\n")
    return folder / "dataset.yaml"


def _xyz(point: np.ndarray) -> str:
    return ",".join(f"{value:.3f}" for value in point)
