"""Whether a planned stage fits into memory, by a rough count of what its steps keep for the backward pass."""

from __future__ import annotations

from anatomark.errors import SettingsError
from anatomark.methods.interface import Staged, StagePlan

GIB = 2**30


def require_memory(staged: Staged, free_bytes: float) -> None:
    """SettingsError, which names what to make smaller, where a stage's steps need more than `free_bytes`."""
    for name in staged.stages:
        stage = staged.stage_plan(name)
        needed = stage.case_bytes * stage.batch
        if needed > free_bytes:
            raise too_large(name, needed, free_bytes, stage)


def too_large(name: str, needed: float, free_bytes: float, stage: StagePlan) -> SettingsError:
    """The error that tells by how much a stage is too large, and what to change."""
    batch, *others = stage.smaller
    fitting = int(stage.batch * free_bytes / needed)
    smaller = " or ".join(others)
    todo = f"set {batch}={fitting} or a smaller {smaller}" if fitting else f"set {batch}=1 and a smaller {smaller}"
    return SettingsError(
        f"training stage {name} needs about {needed / GIB:.1f} GiB, {free_bytes / GIB:.1f} GiB are free; {todo}"
    )
