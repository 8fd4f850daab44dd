"""Offsets: how far a place puts its points from where the model puts them, a landmark, in the frame of the anatomy.

Clinics place the same landmark differently, always in the same direction. From a few annotated cases of a place, the
offset of each landmark is learned in the frame of a typical shape, so that it turns and grows with the patient: Huber's
mean over subjects (Ann. Math. Stat. 35(1):73-101, 1964, doi:10.1214/aoms/1177703732), which a gross error does not
pull, shrunk towards none by its own noise (empirical Bayes: Efron and Morris, JASA 68(341):117-130, 1973,
doi:10.1080/01621459.1973.10481350). Leave-one-out over subjects judges it: a landmark keeps none where the errors of
subjects that it was not learned from become clearly larger, and all landmarks keep none where their mean does not
become smaller.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.data.shapes import align_shape, typical_shape
from anatomark.errors import ModelError
from anatomark.formats.json_text import parsed

NAME = "offsets.safetensors"
LEAST = 4  # subjects to learn the offset of a landmark from
PARTS = 10  # that subjects are left out in, where there are more
PRIOR = 4.0  # degrees of freedom that the typical variance of all landmarks counts as, in the variance of one
HUBER = 1.5  # times the median distance from the middle: a subject farther away pulls no more than one that far
FAR = 3.0  # times the median distance: one farther away counts in the variance as one that far
PRESENT_FROM = 0.5  # points of a lower presence are of no use in finding the frame


@dataclass(frozen=True, eq=False)
class Offsets:
    """What is added to predicted points: `offset` (N, d) in the frame of the shape `typical` (N, d), zero where none.

    The frame of an image comes from laying `typical` onto its predicted points, by a similarity; lengths are those of
    an image of typical size, in the unit of the model. A shape of too few landmarks is all NaN: the frame is then that
    of the world. `source` says in words what they were learned from.
    """

    offset: Floats
    typical: Floats
    source: str

    @property
    def lengths(self) -> Floats:
        """(N,) lengths of the offsets; 0 where a landmark has none."""
        return np.linalg.norm(self.offset, axis=1)

    def apply(self, points: Floats, presence: Floats) -> Floats:
        """Predicted points (..., N, d) of images, with the presence (..., N) of each, moved by the offsets.

        Where too few landmarks are present to find the frame, nothing is moved.
        """
        flat = points.reshape(-1, *self.offset.shape)
        present = presence.reshape(flat.shape[:2]) >= PRESENT_FROM
        moved = flat + _steps(self.typical, np.where(present[..., None], flat, np.nan), self.offset)
        return moved.reshape(points.shape)

    def save(self, folder: Path) -> None:
        """Write offsets.safetensors into `folder`."""
        import torch

        from anatomark.nets.weights import save_tensors

        tensors = {"offset": torch.as_tensor(self.offset.copy()), "typical": torch.as_tensor(self.typical.copy())}
        save_tensors(folder / NAME, tensors, {"about": json.dumps({"source": self.source})})

    @classmethod
    def load(cls, folder: Path, landmarks: int, ndim: int) -> Offsets | None:
        """What `save` wrote; None where there is no such file. ModelError for a damaged one, or another model's."""
        from anatomark.nets.weights import load_tensors

        path = folder / NAME
        if not path.exists():
            return None
        tensors, metadata = load_tensors(path)
        try:
            source = str(parsed(metadata["about"])["source"])
            offset, typical = (tensors[name].double().numpy() for name in ("offset", "typical"))
            if {offset.shape, typical.shape} != {(landmarks, ndim)} or not np.isfinite(offset).all():
                raise ValueError("of another model")
        except (KeyError, TypeError, ValueError):
            raise ModelError(f"{path} is damaged or of another model; copy the whole run folder again") from None
        return cls(offset, typical, source)


def learn_offsets(
    predicted: Floats,
    references: Floats,
    *,
    subjects: Sequence[str],
    typical: Floats | None = None,
    source: str = "annotated cases",
) -> tuple[Offsets, Floats]:
    """Offsets from predicted points (M, N, d) and their references, NaN where there is none, of cases of `subjects`.

    Also the predicted points, each case moved by offsets that were learned without its subject: their errors are those
    of new cases, with offsets of a few subjects fewer. `typical` (N, d) gives the frame, if the model knows a typical
    shape; else that of the predicted points does.
    """
    if typical is None or not np.isfinite(typical).any():
        typical = _typical(predicted)
    moves, of = _of_subjects(_moves(typical, predicted, references), subjects)
    enough = _known(moves).sum(axis=0) >= LEAST
    if not enough.any():
        return Offsets(np.zeros(moves.shape[1:]), typical, source), predicted
    offset = np.where(enough[:, None], _judged(moves), 0.0)
    others = np.where(enough[:, None], _without_own(moves, _judged), 0.0)
    return Offsets(offset, typical, source), predicted + _steps(typical, predicted, others[of])


def _typical(predicted: Floats) -> Floats:
    """The typical shape (N, d) of `predicted` (M, N, d); NaN where too few landmarks make none."""
    if predicted.shape[1] < predicted.shape[2] + 2:
        return np.full(predicted.shape[1:], np.nan)
    return typical_shape(predicted)


def _frames(typical: Floats, points: Floats) -> tuple[Floats, Floats]:
    """Scales (M,) and rotations (M, d, d) of `typical` laid onto `points` (M, N, d); scale NaN where that fails."""
    if not np.isfinite(typical).any():
        return np.ones(len(points)), np.broadcast_to(np.eye(points.shape[2]), (len(points), *[points.shape[2]] * 2))
    fit = align_shape(typical, points)
    return fit.scales, fit.rotations


def _steps(typical: Floats, points: Floats, offset: Floats) -> Floats:
    """(M, N, d) the `offset` (N, d) or (M, N, d) in the frame of each of `points` (M, N, d); 0 where that fails."""
    scales, rotations = _frames(typical, points)
    steps = scales[:, None, None] * offset @ rotations.transpose(0, 2, 1)
    return np.where(np.isfinite(scales)[:, None, None], steps, 0.0)


def _moves(typical: Floats, predicted: Floats, references: Floats) -> Floats:
    """(M, N, d) from predicted points to their references, in the frame of `typical`."""
    scales, rotations = _frames(typical, predicted)
    return (references - predicted) @ rotations / scales[:, None, None]


def _of_subjects(moves: Floats, subjects: Sequence[str]) -> tuple[Floats, NDArray[np.int64]]:
    """(S, N, d) mean of the moves (M, N, d) of each subject, NaN where there is none, and the subject (M,) of each."""
    of = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)[1]
    known = _known(moves)
    sums, counts = np.zeros((of.max() + 1, *moves.shape[1:])), np.zeros((of.max() + 1, moves.shape[1]))
    np.add.at(sums, of, np.where(known[..., None], moves, 0.0))
    np.add.at(counts, of, known)
    return np.where(counts[..., None] > 0, sums / np.maximum(counts, 1)[..., None], np.nan), of


def _judged(moves: Floats) -> Floats:
    """(N, d) offsets by the moves (S, N, d) of subjects, without those that leave-one-out finds to do harm."""
    known = _known(moves)
    before, after = (np.linalg.norm(moves - part, axis=2) for part in (0.0, _without_own(moves, _shrunk)))
    gain = np.where(known, before - after, 0.0)
    if gain.sum() <= 0:
        return np.zeros(moves.shape[1:])
    count = np.maximum(known.sum(axis=0), 1)
    mean = gain.sum(axis=0) / count
    error = np.sqrt(np.where(known, (gain - mean) ** 2, 0.0).sum(axis=0) / np.maximum(count - 1, 1) / count)
    return np.where((mean >= -error)[:, None], _shrunk(moves), 0.0)


def _shrunk(moves: Floats) -> Floats:
    """(N, d) Huber's mean of moves (S, N, d), shrunk towards 0; 0 for landmarks of fewer than two subjects.

    The factor is tau / (tau + v), with v the variance of the mean, and tau that of offsets among landmarks: half by
    the landmark's own mean, half by those of all, as some places differ in few landmarks and others in many.
    """
    count = _known(moves).sum(axis=0)
    use = count >= 2
    offset = np.zeros(moves.shape[1:])
    if not use.any():
        return offset
    moves, count = moves[:, use], count[use]
    mean = _huber(moves)
    apart = np.linalg.norm(moves - mean, axis=2)
    squares = np.nansum(np.minimum(apart, FAR * np.nanmedian(apart, axis=0)) ** 2, axis=0)
    typical = float(np.median(squares / (count - 1)))
    noise = (squares + PRIOR * typical) / (count - 1 + PRIOR) / count
    excess = (mean**2).sum(axis=1) - noise
    tau = np.maximum(0.0, (excess + excess.mean()) / 2)
    offset[use] = mean * (tau / np.maximum(tau + noise, 1e-300))[:, None]
    return offset


def _huber(moves: Floats, *, rounds: int = 5) -> Floats:
    """(N, d) Huber's mean over the first axis of `moves` (S, N, d), NaN left out."""
    known = _known(moves)
    held = np.where(known[..., None], moves, 0.0)
    middle = np.nanmedian(moves, axis=0)
    for _ in range(rounds):
        apart = np.linalg.norm(held - middle, axis=2)
        near = HUBER * np.nanmedian(np.where(known, apart, np.nan), axis=0)
        weights = known * np.minimum(1.0, near / np.maximum(apart, 1e-300)) + 1e-12 * known
        middle = (weights[..., None] * held).sum(axis=0) / weights.sum(axis=0)[:, None]
    return middle


def _without_own(moves: Floats, learn: Callable[[Floats], Floats]) -> Floats:
    """(S, N, d) for each subject what `learn` finds in the moves (S, N, d) of the others; 0 for a single one."""
    parts = np.arange(len(moves)) % min(len(moves), PARTS)
    found = np.zeros(moves.shape)
    for part in range(int(parts.max()) + 1 if len(moves) > 1 else 0):
        found[parts == part] = learn(moves[parts != part])
    return found


def _known(moves: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(moves).all(axis=2))
