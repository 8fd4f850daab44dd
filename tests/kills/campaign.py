"""Many tries of a command: each is stopped at some moment, run again to its end, and compared with an unbroken run."""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.kills.review_trials import ReviewTrials
from tests.kills.scenarios import SCENARIOS, Scenario, contents, make_inputs, make_model
from tests.kills.tally import Tally
from tests.kills.trial import Ended, fresh, run_apart

REVIEW = "review"
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
LONGEST_ENDING = 2.0  # seconds
AT_RANDOM = 0.25  # of the kills come after a random time instead of at a moment


class CommandError(RuntimeError):
    """A command that fails, or gives another result each time, without being disturbed."""


class Campaign:
    """Tries of commands in the folder `work`, at moments drawn by `seed`; none begins after the time `ends`.

    `tell` is called after each try.
    """

    def __init__(
        self, work: Path, seed: int, ends: float = math.inf, tell: Callable[[Campaign], None] = lambda campaign: None
    ) -> None:
        self.ends, self.tell = ends, tell
        self.inputs, self.at = work / "inputs", work / "work" / "at"
        self.random = random.Random(seed)
        self.tallies: dict[str, Tally] = {}
        self._unbroken: dict[str, tuple[dict[str, bytes], Ended]] = {}
        _warm_up()
        make_inputs(self.inputs)

    def run(self, name: str, tries: int, action: str) -> str:
        """So many `tries` of a command; a line about them."""
        if name == REVIEW:
            tally = self.tallies[name] = ReviewTrials(self.inputs, self.at, self.random.randint(0, 1 << 30)).run(tries)
            return f"{name}: {tally.tries} kills, {tally.moments} changes, {len(tally.findings)} findings"
        scenario, tally = SCENARIOS[name], self.tallies.setdefault(name, Tally())
        try:
            whole, ended = self.unbroken(scenario)
        except CommandError as error:
            self._note(tally, ["nowhere"], str(error))
            return f"{name}: not tried"
        tally.moments, tally.seconds = ended.passed, ended.seconds
        for moment in self._moments(ended.passed, tries):
            if time.monotonic() > self.ends:
                break
            tally.tries += 1
            if action in SIGNALS:
                self._interrupted(scenario, tally, whole, ended, SIGNALS[action])
            elif action == "kill":
                self._killed(scenario, tally, whole, ended, moment)
            else:
                self._failed(scenario, tally, whole, ended, moment, action)
            self.tell(self)
        return f"{name}: {tally.tries} tries, {tally.moments} moments, {len(tally.findings)} findings"

    def _moments(self, passed: int, tries: int) -> Sequence[int]:
        """Each moment once, where there are no more than tries; else some, spread over all."""
        if tries >= passed:
            return [*range(1, passed + 1), *(self.random.randint(1, passed) for _ in range(tries - passed))]
        return self.random.sample(range(1, passed + 1), tries)

    def unbroken(self, scenario: Scenario) -> tuple[dict[str, bytes], Ended]:
        """What a run that nobody disturbs leaves behind, and how it ended; done twice, to be sure it is always that."""
        if scenario.name not in self._unbroken:
            if scenario.needs_model and not (self.inputs / "run").exists():
                self._make_model()
            runs: list[tuple[dict[str, bytes], Ended]] = []
            for _ in range(2):
                self.start(scenario)
                ended = self.run_once(scenario)
                if ended.code:
                    raise CommandError(f"{scenario.name} ended with {ended.code}: {ended.said}")
                runs.append((contents(self.at, scenario.ignored), ended))
            if changed := different(*(each for each, _ in runs)):
                raise CommandError(f"{scenario.name}: two undisturbed runs differ in {changed}")
            self._unbroken[scenario.name] = runs[0]
        return self._unbroken[scenario.name]

    def _killed(self, scenario: Scenario, tally: Tally, whole: dict[str, bytes], ended: Ended, moment: int) -> None:
        self.start(scenario)
        by_time = self.random.random() < AT_RANDOM
        again = self.random.random() < AT_RANDOM
        stops: list[str] = []
        for turn in range(1 + again):
            at = moment if turn == 0 else self.random.randint(1, ended.passed)
            if by_time and turn == 0:
                stopped = self.run_once(scenario, after_seconds=self.random.uniform(0, ended.seconds))
            else:
                stopped = self.run_once(scenario, at=at, action="kill")
                tally.at_moments.add(at)
            stops.append(f"moment {at}" if not by_time else f"{stopped.seconds:.2f} s")
            if stopped.code not in (0, -9) and not scenario.ended_before(stopped.said):
                self._note(tally, stops, f"ended with {stopped.code}: {stopped.said[-1500:]}")
        tally.twice += again
        self._finish(scenario, tally, whole, stops)

    def _failed(
        self, scenario: Scenario, tally: Tally, whole: dict[str, bytes], ended: Ended, moment: int, action: str
    ) -> None:
        """A disk that fails from a moment on: one line and exit code 2, no half of a file, and the rest as usual."""
        self.start(scenario)
        before = contents(self.at, scenario.ignored)
        tally.at_moments.add(moment)
        stopped = self.run_once(scenario, at=moment, action=action)
        stops = [f"{action} at {moment}: {ended.seen[moment - 1]}"]
        errors = [line for line in stopped.said.splitlines() if line.startswith("error:")]
        if stopped.code not in (0, 1, 2) or "Traceback" in stopped.said:
            self._note(tally, stops, f"ended with {stopped.code}: {stopped.said[-1500:]}")
        elif stopped.code == 2 and len(errors) != 1:
            self._note(tally, stops, f"{len(errors)} lines of error: {stopped.said[-1500:]}")
        left = contents(self.at, scenario.ignored)
        halves = [name for name in left if name not in whole and name not in before and "/." in f"/{name}"]
        if halves:
            self._note(tally, stops, f"left over: {halves}")
        self._finish(scenario, tally, whole, stops)

    def _interrupted(
        self, scenario: Scenario, tally: Tally, whole: dict[str, bytes], ended: Ended, number: signal.Signals
    ) -> None:
        """A signal at a random time: the command ends soon, in one line, and the same command makes the rest."""
        self.start(scenario)
        stopped = self.run_once(scenario, after_seconds=self.random.uniform(0, ended.seconds), number=number)
        tally.slowest = max(tally.slowest, stopped.ending)
        stops = [f"{number.name} after {stopped.seconds - stopped.ending:.2f} s"]
        if stopped.code not in (0, 128 + number):
            self._note(tally, stops, f"ended with {stopped.code}: {stopped.said[-1500:]}")
        elif stopped.code and "interrupted; the same command" not in stopped.said:
            self._note(tally, stops, f"does not say how to go on: {stopped.said[-500:]}")
        if stopped.ending > LONGEST_ENDING:
            self._note(tally, stops, f"took {stopped.ending:.1f} s to end")
        self._finish(scenario, tally, whole, stops)

    def _finish(self, scenario: Scenario, tally: Tally, whole: dict[str, bytes], stops: list[str]) -> None:
        """Run to the end, and compare."""
        last = self.run_once(scenario)
        if last.code and not scenario.ended_before(last.said):
            self._note(tally, stops, f"run again, it ended with {last.code}: {last.said[-1500:]}")
        elif changed := different(whole, contents(self.at, scenario.ignored)):
            self._note(tally, stops, f"run again, other content: {changed}")

    def start(self, scenario: Scenario) -> None:
        """Make the folder that the command starts in."""
        scenario.start(self.inputs, fresh(self.at))

    def run_once(self, scenario: Scenario, **options: Any) -> Ended:
        """Run the command in a process of its own; `options` as of `run_apart`."""
        arguments = scenario.command(self.inputs, self.at)
        return run_apart(lambda: scenario.call(arguments), self.at, **options)

    def _make_model(self) -> None:
        from anatomark.cli.main import run

        make_model(self.inputs, lambda command: run_apart(lambda: run(command), fresh(self.at)).code)

    @staticmethod
    def _note(tally: Tally, stops: list[str], what: str) -> None:
        tally.findings.append({"stopped": list(stops), "what": what})
        print(f"  {'; '.join(stops)}: {what}", file=sys.stderr, flush=True)


def different(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """What is only in one, or not the same in both, in words."""
    found = [f"{name} is missing" for name in one.keys() - other.keys()]
    found += [f"{name} is left over" for name in other.keys() - one.keys()]
    return sorted(found + [f"{name} differs" for name in one.keys() & other.keys() if one[name] != other[name]])


def _warm_up() -> None:
    """Load what the commands use, once, so that a fork has it; nothing may compute here, as threads do not survive."""
    from importlib import import_module

    from anatomark.cli.main import VERBS
    from anatomark.formats import reader_process

    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # sums of several threads differ in their last digit
    for name in (
        "torch", "SimpleITK", "lightning_fabric", "tensorboardX", "pydicom", "plotly", "pyarrow.parquet", "PIL.Image",
        "anatomark.training.train", "anatomark.predict", "anatomark.cohort.run", "anatomark.evaluation.evaluate",
        "anatomark.review.serve", "fastapi", "uvicorn", "PIL.ImageFont", "PIL.PpmImagePlugin", "plotly.graph_objects",
        "anatomark.registration.bspline", "anatomark.evaluation.charts", "anatomark.evaluation.sections",
        "anatomark.registration.transfer_to_folder", "anatomark.formats.convert", "anatomark.data.synthesize",
        *(f"anatomark.cli.{verb}" for verb in VERBS),
    ):  # fmt: skip
        import_module(name)
    reader_process.AVAILABLE = False  # a process that loads its libraries anew for each try would take most of the time
