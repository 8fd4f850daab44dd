"""Images a second by the size of the batch that a GPU sees, of images that are in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIZES = (1, 4, 16)
ROUNDS = 3


def batches(model: Path, images: Path, spacing: tuple[float, ...] | None) -> Iterator[dict[str, Any]]:
    """A row for each size; without a GPU it says so. The whole of a prediction is on the clock, but for reading."""
    import torch

    if not torch.cuda.is_available():
        yield from ({"batch": size, "not_measured": "no GPU"} for size in SIZES)
        return
    from anatomark import load, read_image

    loaded = load(model, device="cuda")
    distinct = [read_image(path, spacing=spacing) for path in sorted(images.iterdir())[:2]]
    given = [distinct[k % len(distinct)] for k in range(max(SIZES))]
    sources = [str(k) for k in range(len(given))]
    loaded.predict(given[0])  # warms up
    for size in SIZES:
        parts = [slice(first, first + size) for first in range(0, len(given), size)]
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        for _ in range(ROUNDS):
            for part in parts:
                loaded.predict_together(given[part], sources=sources[part])
        seconds = time.perf_counter() - began
        yield {
            "batch": size,
            "images_a_second": ROUNDS * len(given) / seconds,
            "gpu_bytes": torch.cuda.max_memory_allocated(),
        }
