"""Presence from posterior masses: a probability that more mass never lowers, fitted where there is a truth."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anatomark.core.landmarks import State
from anatomark.methods.presence import PresenceModel, fit_presence

MASSES = arrays(np.float64, st.tuples(st.integers(1, 30), st.just(2)), elements=st.floats(0, 1))


@settings(deadline=None, max_examples=40)
@given(mass=MASSES, data=st.data())
def test_a_probability_that_grows_with_the_mass(mass: np.ndarray, data: st.DataObject) -> None:
    present = data.draw(arrays(np.bool_, len(mass)))
    for model in (PresenceModel.unfitted(2), PresenceModel.fitted(mass, present)):
        assert all(weight >= 0 for weight in model.weights)
        assert np.isfinite([*model.weights, model.bias]).all()
        rising = np.linspace(0, 1, 11)
        for column in (0, 1):
            swept = np.full((11, 2), 0.3)
            swept[:, column] = rising
            probability = model.probability(swept)
            assert ((probability >= 0) & (probability <= 1)).all()
            assert (np.diff(probability) >= 0).all()


def test_unfitted_is_the_mean_logit() -> None:
    model = PresenceModel.unfitted(2)
    assert model.probability(np.array([[0.5, 0.5]])) == pytest.approx(0.5)
    assert model.probability(np.array([[0.9, 0.1]])) == pytest.approx(0.5)
    assert PresenceModel.unfitted(1).probability(np.array([[0.8]])) == pytest.approx(0.8)


def test_nothing_to_fit_to_knows_nothing() -> None:
    fitted = PresenceModel.fitted(np.empty((0, 3)), np.empty(0, dtype=bool))
    assert fitted.probability(np.array([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]])) == pytest.approx(0.5)


def test_it_learns_which_mass_means_presence() -> None:
    rng = np.random.default_rng(0)
    present = rng.random(300) < 0.7
    mass = np.where(present, rng.uniform(0.15, 0.5, 300), rng.uniform(0, 0.05, 300))[:, None]
    unfitted = PresenceModel.unfitted(1).probability(mass) >= 0.5
    assert (unfitted == present).mean() < 0.5, "a network that is shy of saying present"
    fitted = PresenceModel.fitted(mass, present)
    assert ((fitted.probability(mass) >= 0.5) == present).mean() > 0.98


def test_it_learns_which_stage_to_trust() -> None:
    rng = np.random.default_rng(0)
    present = rng.random(400) < 0.5
    good = np.where(present, rng.uniform(0.5, 1, 400), rng.uniform(0, 0.5, 400))
    mass = np.stack([rng.random(400), good], axis=1)
    fitted = PresenceModel.fitted(mass, present)
    assert fitted.weights[1] > 10 * fitted.weights[0]


def test_it_is_calibrated_where_masses_overlap() -> None:
    rng = np.random.default_rng(2)
    mass = rng.uniform(0, 1, (3000, 1))
    present = rng.random(3000) < mass[:, 0] ** 2
    probability = PresenceModel.fitted(mass, present).probability(mass)
    for low in (0.1, 0.3, 0.5, 0.7):
        inside = (probability >= low) & (probability < low + 0.2)
        assert present[inside].mean() == pytest.approx(low + 0.1, abs=0.1)


def test_where_none_was_ever_absent_nothing_tells_absence() -> None:
    mass = np.random.default_rng(0).uniform(0, 1, (40, 2))
    fitted = PresenceModel.fitted(mass, np.ones(40, dtype=bool))
    assert fitted.probability(mass) == pytest.approx(41 / 42), "the rule of succession"


def test_where_none_was_ever_present_it_says_absent() -> None:
    mass = np.random.default_rng(0).uniform(0, 0.6, (40, 2))
    fitted = PresenceModel.fitted(mass, np.zeros(40, dtype=bool))
    assert (fitted.probability(mass) < 0.5).all()


def test_masses_of_zero_and_one_are_no_trouble() -> None:
    mass = np.array([[0.0], [1.0], [0.0], [1.0]])
    fitted = PresenceModel.fitted(mass, np.array([False, True, False, True]))
    low, high = fitted.probability(np.array([[0.0], [1.0]]))
    assert 0 <= low < 0.1 < 0.9 < high <= 1


def masses_in(image):
    """Of a detector that finds the masses that an image consists of."""
    return np.asarray(image, dtype=float)[:, None]


def case(role: str, states: list[int]) -> SimpleNamespace:
    held = np.array(states, dtype=np.uint8)
    return SimpleNamespace(role=role, states=held, image=np.where(held == State.PRESENT, 0.8, 0.2))


def test_it_says_by_which_cases_it_was_learned() -> None:
    here, gone = [State.PRESENT] * 10, [State.ABSENT] * 10
    for cases, told in (
        ([case("train", here), case("validation", here)], "no landmark was ever absent"),
        ([case("train", gone), case("validation", here)], "training and validation cases, for too few"),
        ([case("train", gone), case("validation", [*here[:-1], State.ABSENT])], "training and validation cases"),
        ([case("train", gone), case("validation", gone), case("validation", here)], "validation cases"),
    ):
        assert fit_presence(masses_in, 1, SimpleNamespace(cases=cases)).learned_from.startswith(told)  # type: ignore[arg-type]
