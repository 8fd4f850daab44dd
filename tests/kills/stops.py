"""`python -m tests.kills.stops --stops 200`: one training stopped that often, and equal to one that nobody stopped.

Each life of the training is killed at a moment of writing or after a random time, or ended by SIGTERM or Ctrl-C, and
the same command goes on. Moments and times are drawn so that the training comes a little further with each.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.kills.campaign import Campaign, different
from tests.kills.scenarios import FEW, TINY, TRAINED, Scenario, contents
from tests.kills.trial import memory

EVERY = 10  # steps between checkpoints
STEPS_A_STOP = 10
START_MOMENTS, START_SECONDS = 15, 1.0  # of a life, about, before its first step
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def long_training(method: str, steps: int) -> Scenario:
    """The tiny training of the kills with so many steps, and a checkpoint every other one."""
    own = [text for text in TINY[method] if not text.startswith("steps=")]
    few = [text for text in FEW if not text.startswith("checkpoint_every=")]
    values = ["augmentation=none", *few, *own, f"steps={steps}", f"checkpoint_every={EVERY}"]
    words = [word for value in values for word in ("--set", value)]
    arguments = ("train", "{data}/set/dataset.yaml", "--out", "{at}/run", "--method", method, "--device", "cpu", *words)
    return Scenario(f"train {method}, {steps} steps", arguments, ignored=TRAINED)


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.kills.stops", description=__doc__)
    asked.add_argument("--stops", type=int, default=200)
    asked.add_argument("--method", choices=[name for name in TINY if "steps=30" in TINY[name]], default="unet-votes")
    asked.add_argument("--seed", type=int, default=0, help="of the moments")
    given = asked.parse_args()
    draw = random.Random(given.seed)
    steps = given.stops * STEPS_A_STOP
    scenario = long_training(given.method, steps)
    with tempfile.TemporaryDirectory(prefix="stops-", dir=memory()) as folder:
        campaign = Campaign(Path(folder), given.seed)
        whole, ended = campaign.unbroken(scenario)
        print(f"unbroken: {ended.seconds:.0f} s, {ended.passed:,} moments", flush=True)
        moments, seconds = ended.passed / steps, ended.seconds / steps
        began, stops = time.monotonic(), Counter[str]()
        campaign.start(scenario)
        faults: list[str] = []
        while (count := sum(stops.values())) < given.stops:
            far = 2 * (steps - _step(campaign.at)) / (given.stops - count) + EVERY / 2  # steps of this life, at most
            if draw.random() < 0.5:
                at = draw.randint(1, int(START_MOMENTS + moments * far))
                stopped, how = campaign.run_once(scenario, at=at, action="kill"), "killed at a moment"
            else:
                number, after = draw.choice(SIGNALS), draw.uniform(0, START_SECONDS + seconds * far)
                stopped = campaign.run_once(scenario, after_seconds=after, number=number)
                how = f"{number.name} after a random time"
            if stopped.code == 0:
                faults.append(f"it ended after {count} stops")
                break
            if stopped.code not in (-9, 128 + signal.SIGTERM, 128 + signal.SIGINT):
                faults.append(f"{how}: ended with {stopped.code}: {stopped.said[-500:]}")
            stops[how] += 1
            if (count + 1) % 20 == 0:
                print(f"{count + 1} stops, step {_step(campaign.at)} of {steps}", file=sys.stderr, flush=True)
        last = campaign.run_once(scenario)
        if last.code:
            faults.append(f"run to the end, it ended with {last.code}: {last.said[-500:]}")
        faults += different(whole, contents(campaign.at, scenario.ignored))
    kinds = ", ".join(f"{number} {how}" for how, number in sorted(stops.items()))
    print(f"{sum(stops.values())} stops ({kinds}) of {scenario.name}")
    print(f"{(time.monotonic() - began) / 60:.1f} minutes; differences: {faults or 'none'}")
    return int(bool(faults))


def _step(at: Path) -> int:
    """The last step in the log."""
    log = at / "run" / "log.jsonl"
    found = re.findall(r'"step": ([0-9]+)', log.read_text()) if log.exists() else []
    return max(map(int, found), default=0)


if __name__ == "__main__":
    sys.exit(main())
