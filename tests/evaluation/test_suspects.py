"""Planted faults in references are found, and sound ones are left alone."""

from dataclasses import replace

import numpy as np
import pytest

from anatomark.core.grid import Unit
from anatomark.core.landmarks import State
from anatomark.evaluation.rows import Answer, Rows
from anatomark.evaluation.suspects import find_suspects, limits

NAMES = ("sella", "nasion", "menton", "ear-L", "ear-R", "eye-L", "eye-R", "jaw-L", "jaw-R")
PAIRS = (("ear-L", "ear-R"), ("eye-L", "eye-R"), ("jaw-L", "jaw-R"))
SHAPE = np.array([
    [0, -10, 0], [0, -40, 40], [0, -30, -45], [50, 20, 5], [-50, 20, 5], [25, -30, 22], [-25, -30, 22],
    [38, 0, -35], [-38, 0, -35],
], dtype=float)  # fmt: skip


def sound(ndim, cases=30, *, bounds=True, unit: Unit = "mm", seed=3):
    """Rows without a fault: people of many sizes, errors of about 1 mm, some points absent or not annotated."""
    rng = np.random.default_rng(seed)
    base = SHAPE[:, [0, 2]] if ndim == 2 else SHAPE
    size = rng.normal(1, 0.08, (cases, 1, 1))
    reference = size * base + rng.normal(0, 12, (cases, 1, ndim)) + rng.normal(0, 1.5, (cases, len(base), ndim))
    predicted = reference + rng.normal(0, 0.8, reference.shape)
    states = np.full(reference.shape[:2], State.PRESENT, dtype=np.uint8)
    answers = np.full(reference.shape[:2], Answer.PRESENT, dtype=np.uint8)
    if cases > 6:
        states[1, 2], states[2, 3] = State.NOT_ANNOTATED, State.ABSENT
        answers[2, 3] = answers[5, 1] = Answer.ABSENT
        predicted[2, 3] = predicted[5, 1] = 1000.0  # where an absent landmark is said to be means nothing
    reference[states != State.PRESENT] = np.nan
    bound = np.full(states.shape, 2.5 if bounds else np.nan)
    ids = tuple(f"case_{i}" for i in range(cases))
    return Rows(ids, NAMES, reference, states, predicted, answers, np.ones(states.shape), unit, bound=bound)


def changed(rows, **points):
    """The rows with other reference or predicted points."""
    return replace(rows, **points)


both = pytest.mark.parametrize("ndim", [2, 3])
with_and_without = pytest.mark.parametrize("bounds", [True, False], ids=["bounds", "no bounds"])


@both
@with_and_without
def test_sound_cases_are_left_alone(ndim, bounds):
    named = points = 0
    for seed in range(20):
        rows = sound(ndim, bounds=bounds, seed=seed)
        suspects = find_suspects(rows, PAIRS)
        assert not [s for s in suspects if s.kind != "far-point"]
        named += len(suspects)
        points += int(rows.found.sum())
    assert named <= 0.02 * points


@both
@with_and_without
def test_a_moved_point(ndim, bounds):
    rows = sound(ndim, bounds=bounds)
    reference = rows.reference.copy()
    reference[4, 0, -1] += 10
    (first, *rest) = find_suspects(changed(rows, reference=reference), PAIRS)
    assert (first.kind, first.case, first.landmarks) == ("far-point", "case_4", ("sella",))
    assert 7 < first.distance < 13
    assert first.distance / first.limit == pytest.approx(first.excess)
    assert all(s.excess < first.excess for s in rest)


@both
def test_one_pair_and_all_pairs_exchanged(ndim):
    rows = sound(ndim)
    reference = rows.reference.copy()
    reference[7, [5, 6]] = reference[7, [6, 5]]
    reference[8, 3:] = reference[8, [4, 3, 6, 5, 8, 7]]
    found = {s.case: s for s in find_suspects(changed(rows, reference=reference), PAIRS) if s.kind != "far-point"}
    assert {case: s.kind for case, s in found.items()} == {"case_7": "left-right", "case_8": "left-right"}
    assert found["case_7"].landmarks == ("eye-L", "eye-R")
    assert found["case_8"].landmarks == NAMES[3:]
    assert found["case_7"].explained < 4 < found["case_7"].distance


@both
def test_a_pair_of_which_one_is_annotated(ndim):
    rows = sound(ndim)
    reference, states = rows.reference.copy(), rows.states.copy()
    reference[7, 5], states[7, 6] = reference[7, 6], State.NOT_ANNOTATED
    reference[7, 6] = np.nan
    (first, *_) = find_suspects(changed(rows, reference=reference, states=states), PAIRS)
    assert (first.kind, first.case, first.landmarks) == ("left-right", "case_7", ("eye-L", "eye-R"))


@both
@with_and_without
def test_swapped_cases(ndim, bounds):
    rows = sound(ndim, bounds=bounds)
    reference = rows.reference.copy()
    reference[[10, 20]] = reference[[20, 10]]
    found = [s for s in find_suspects(changed(rows, reference=reference), PAIRS) if s.kind != "far-point"]
    assert [(s.kind, s.case, s.other, s.mutual) for s in sorted(found, key=lambda s: s.case)] == [
        ("swapped", "case_10", "case_20", True),
        ("swapped", "case_20", "case_10", True),
    ]


@both
def test_a_copy_of_another_case_and_a_shifted_one(ndim):
    rows = sound(ndim)
    reference = rows.reference.copy()
    reference[10] = reference[20]
    reference[12] += 200
    found = [s for s in find_suspects(changed(rows, reference=reference), PAIRS) if s.kind != "far-point"]
    assert [(s.kind, s.case, s.other, s.mutual) for s in found] == [
        ("swapped", "case_10", "case_20", False),
        ("far-case", "case_12", "", False),
    ]


@both
def test_a_mirrored_image_comes_first_and_once(ndim):
    rows = sound(ndim)
    predicted = rows.predicted.copy()
    predicted[3, :, 0] *= -1
    reference = rows.reference.copy()
    reference[4, 0] += 30
    suspects = find_suspects(
        changed(rows, predicted=predicted, reference=reference), PAIRS, {"case_3": "the image looks mirrored"}
    )
    assert (suspects[0].kind, suspects[0].case) == ("unusual-image", "case_3")
    assert suspects[0].reason == "the image looks mirrored"
    assert [s.case for s in suspects].count("case_3") == 1
    assert (suspects[1].case, suspects[1].landmarks) == ("case_4", ("sella",))


def test_the_worst_comes_first():
    rows = sound(2)
    reference = rows.reference.copy()
    reference[9, 0] += 20
    reference[4, 1] += 60
    reference[6, 2] += 40
    found = find_suspects(changed(rows, reference=reference), PAIRS)
    assert [s.case for s in found[:3]] == ["case_4", "case_6", "case_9"]


def test_pixels_are_judged_as_millimetres_are():
    rows = sound(2, unit="px")
    reference = rows.reference.copy()
    reference[4, 0] += 10
    assert find_suspects(changed(rows, reference=reference))[0].case == "case_4"


@both
def test_one_landmark(ndim):
    rows = sound(ndim)
    one = replace(
        rows,
        names=("sella",),
        **{name: getattr(rows, name)[:, :1] for name in ("reference", "states", "predicted", "answers", "presence")},
        spread=rows.spread[:, :1],
        bound=rows.bound[:, :1],
        withheld=rows.withheld[:, :1],
    )
    reference = one.reference.copy()
    reference[4, 0] += 10
    (first, *rest) = find_suspects(replace(one, reference=reference))
    assert (first.kind, first.case) == ("far-point", "case_4")
    assert not [s for s in rest if s.kind != "far-point"]


@both
def test_few_cases_without_bounds_are_not_judged(ndim):
    rows = sound(ndim, cases=4, bounds=False)
    reference = rows.reference.copy()
    reference[1] += 50
    assert np.isnan(limits(rows)).all()
    assert find_suspects(changed(rows, reference=reference), PAIRS) == []


@both
def test_few_cases_are_judged_by_their_bounds(ndim):
    rows = sound(ndim, cases=2)
    reference = rows.reference.copy()
    reference[1] += 50
    assert [(s.kind, s.case) for s in find_suspects(changed(rows, reference=reference), PAIRS)] == [
        ("far-case", "case_1")
    ]


def test_predictions_without_any_error():
    rows = sound(2)
    exact = replace(rows, predicted=rows.reference, bound=np.full(rows.bound.shape, np.nan))
    assert find_suspects(exact, PAIRS) == []
