"""`python -m tests.fuzz --minutes 60`: changed files through every door, in turn, until the time is over."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.campaign import Campaign, table
from tests.fuzz.doors import DOORS


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asked.add_argument("--minutes", type=float, default=1.0, help="of all doors together")
    asked.add_argument("--seed", type=int, default=int(time.time()), help="of the changes")
    asked.add_argument("--doors", nargs="*", default=[], help="words in the names of the doors to try; without, all")
    asked.add_argument("--inputs", type=int, default=0, help="of each door, at most; 0: as many as there is time for")
    asked.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder for findings and results.json")
    given = asked.parse_args()
    doors = [name for name in DOORS if not given.doors or any(word in name for word in given.doors)]
    campaign = Campaign(given.seed, given.out)
    ends = time.monotonic() + 60 * given.minutes
    print(f"seed {given.seed}, {len(doors)} doors", flush=True)
    spent = dict.fromkeys(doors, 0.0)
    block = dict.fromkeys(doors, 20)
    left = list(doors)
    while left and time.monotonic() < ends:
        door = min(left, key=lambda name: spent[name])  # each has as much time as the others
        began = time.monotonic()
        count = min(block[door], given.inputs - campaign.next.get(door, 0)) if given.inputs else block[door]
        tally = campaign.run(door, count)
        spent[door] += time.monotonic() - began
        block[door] = min(5000, max(20, int(5 * campaign.next[door] / max(spent[door], 0.01))))
        if given.inputs and campaign.next[door] >= given.inputs:
            left.remove(door)
        bad = {key: report["count"] for key, report in tally.findings.items()}
        print(f"{door}: {tally.inputs} inputs, {tally.ends}{f', {bad}' if bad else ''}", file=sys.stderr, flush=True)
    campaign.close()
    given.out.mkdir(parents=True, exist_ok=True)
    results = {
        "seed": given.seed,
        "minutes": given.minutes,
        "doors": {d: asdict(t) for d, t in campaign.tallies.items()},
    }
    (given.out / "results.json").write_text(json.dumps(results, indent=1))
    print("\n".join(table(campaign.tallies)))
    return int(any(tally.findings for tally in campaign.tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
