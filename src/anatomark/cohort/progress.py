"""How far a cohort is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` images are there, `failed` of those that this command predicted have no points.

    `per_second` images were predicted on average, 0 as long as there was none.
    """

    done: int
    total: int
    failed: int
    per_second: float

    @property
    def seconds_left(self) -> float | None:
        return (self.total - self.done) / self.per_second if self.per_second > 0 else None

    def __str__(self) -> str:
        text = f"{self.done} of {self.total} images"
        if (left := self.seconds_left) is not None:
            text += f", {self.per_second:.3g} a second, {_duration(left)} left"
        return text + (f", {self.failed} failed" if self.failed else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
