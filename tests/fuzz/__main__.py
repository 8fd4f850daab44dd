"""`python -m tests.fuzz --minutes 60`: changed files through every door, in turn, until the time is over."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from anatomark.errors import AnatomarkError
from anatomark.formats import reader_process
from anatomark.loading import load
from tests.fuzz.campaign import Campaign, added, table
from tests.fuzz.door import Files
from tests.fuzz.doors import DOORS


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asked.add_argument("--minutes", type=float, default=1.0, help="of all doors together")
    asked.add_argument("--seed", type=int, default=int(time.time()), help="of the changes")
    asked.add_argument("--doors", nargs="*", default=[], help="words in the names of the doors to try; without, all")
    asked.add_argument("--inputs", type=int, default=0, help="of each door, at most; 0: as many as there is time for")
    asked.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder for findings and results.json")
    asked.add_argument("--processes", type=int, default=1, help="at once, each with a seed of its own: the next ones")
    asked.add_argument("--sum", nargs="*", type=Path, help="files results.json of runs: print their sums, try nothing")
    given = asked.parse_args()
    if given.sum:
        print("\n".join(table(added([json.loads(path.read_text())["doors"] for path in given.sum]))))
        return 0
    doors = [name for name in DOORS if not given.doors or any(word in name for word in given.doors)]
    print(f"seed {given.seed}, {len(doors)} doors", flush=True)
    known = _loaded(doors)
    ends = time.monotonic() + 60 * given.minutes
    campaigns = [_apart(given, doors, known, given.seed + k, ends) for k in range(given.processes)]
    failed = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in campaigns]
    files = [_out(given, given.seed + k) / "results.json" for k in range(given.processes)]
    print("\n".join(table(added([json.loads(path.read_text())["doors"] for path in files]))))
    return int(any(failed))


def _loaded(doors: list[str]) -> dict[str, list[Files]]:
    """The seeds of the doors, opened once, so that what they need is loaded; registrations start threads, and wait."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    reader_process.AVAILABLE = False  # the limits hold in this process; one more for every input would take all time
    known = {door: DOORS[door].seeds() for door in doors}
    alone = [door for door in doors if not door.startswith(("service", "review_change"))]  # they leave a thread
    for door in alone:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(AnatomarkError):
            for name, content in known[door][0].items():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_bytes(content)
            (load if door.startswith("model") else DOORS[door].enter)(Path(folder))
    assert threading.active_count() == 1, threading.enumerate()  # a fork would have no other
    return known


def _out(given: argparse.Namespace, seed: int) -> Path:
    return given.out if given.processes == 1 else given.out / str(seed)


def _apart(given: argparse.Namespace, doors: list[str], known: dict[str, list[Files]], seed: int, ends: float) -> int:
    """The id of a fork that goes through the doors until the time `ends`."""
    process = os.fork()
    if process == 0:
        code = 70
        try:
            code = _go_through(Campaign(seed, _out(given, seed), known), doors, given, ends)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return process


def _go_through(campaign: Campaign, doors: list[str], given: argparse.Namespace, ends: float) -> int:
    """Blocks of inputs, so that each door has as much time as the others; 1 where anything was found."""
    spent = dict.fromkeys(doors, 0.0)
    block = dict.fromkeys(doors, 20)
    left = list(doors)
    while left and time.monotonic() < ends:
        door = min(left, key=lambda name: spent[name])
        began = time.monotonic()
        count = min(block[door], given.inputs - campaign.next.get(door, 0)) if given.inputs else block[door]
        tally = campaign.run(door, count)
        if campaign.next[door] > count:  # the first ones may load libraries
            spent[door] += time.monotonic() - began
            block[door] = min(5000, max(20, int(5 * campaign.next[door] / max(spent[door], 0.01))))
        if given.inputs and campaign.next[door] >= given.inputs:
            left.remove(door)
        bad = {key: report["count"] for key, report in tally.findings.items()}
        _write(campaign, given.minutes)
        print(f"{door}: {tally.inputs} inputs, {tally.ends}{f', {bad}' if bad else ''}", file=sys.stderr, flush=True)
    campaign.close()
    return int(any(tally.findings for tally in campaign.tallies.values()))


def _write(campaign: Campaign, minutes: float) -> None:
    """results.json, as far as it has come."""
    assert campaign.out is not None
    campaign.out.mkdir(parents=True, exist_ok=True)
    doors = {door: asdict(tally) for door, tally in campaign.tallies.items()}
    results = {"seed": campaign.seed, "minutes": minutes, "doors": doors}
    (campaign.out / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(main())
