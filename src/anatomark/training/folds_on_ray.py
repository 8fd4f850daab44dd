"""The folds of a cross-validation as tasks of a Ray cluster, all at once as far as there is room.

A task trains one fold, and is tried again where its process or machine ends: it then resumes from its last checkpoint.
Data and run folder have to lie at paths that every machine sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from anatomark.errors import AnatomarkError, LostProcessError
from anatomark.training.ray_cluster import connected, require_ray

_TRIES_AGAIN = 3


def train_each_on_ray(
    train_one: Callable[[int], AnatomarkError | None],
    folds: int,
    *,
    address: str,
    device: str = "auto",
    show: Callable[[str], None] | None = None,
) -> None:
    """Call `train_one` with the number of each fold, from 1 on, on the cluster at `address`.

    Errors that are meant for the user come as values, for Ray wraps what is raised. A task takes a GPU where the
    cluster has some and `device` is not "cpu", and its share of the cores.

    Raises SettingsError where there is no such cluster, and the error of the first fold that ends with one, after the
    others have ended.
    """
    require_ray()
    ray: Any = import_module("ray")
    say: Callable[[str], None] = show or (lambda line: None)
    with connected(ray, address):
        needs = _shares(ray.cluster_resources(), ray.nodes(), folds, device)
        say(f"{folds} folds on Ray, each with " + ", ".join(f"{n} {kind[4:].upper()}" for kind, n in needs.items()))
        one = ray.remote(max_retries=_TRIES_AGAIN, **needs)(lambda fold: train_one(fold))
        numbers = {one.remote(fold): fold for fold in range(1, folds + 1)}
        failures: list[AnatomarkError] = []
        waiting = list(numbers)
        while waiting:
            (done, *_), waiting = ray.wait(waiting, num_returns=1)
            try:
                failure = ray.get(done)
            except ray.exceptions.RayError as error:
                line = " ".join(str(error).split())[:200]
                failure = LostProcessError(f"fold {numbers[done]}: its process ended again and again ({line})")
            if failure is not None:
                failures.append(failure)
            say(f"fold {numbers[done]} of {folds}: {failure or 'trained'}")
    if failures:
        raise failures[0]


def _shares(there: Mapping[str, float], machines: list[dict[str, Any]], folds: int, device: str) -> dict[str, int]:
    """What each task takes: no more cores than the smallest machine has."""
    smallest = min((int(each["Resources"].get("CPU", 0)) for each in machines if each["Alive"]), default=1)
    needs = {"num_cpus": max(1, min(smallest, math.floor(there.get("CPU", 1) / folds)))}
    return needs if device == "cpu" or not there.get("GPU") else {**needs, "num_gpus": 1}
