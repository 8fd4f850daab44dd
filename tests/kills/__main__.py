"""`python -m tests.kills --tries 100`: commands killed, or on a disk that fails, run again and compared."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

from tests.kills.campaign import REVIEW, SIGNALS, Campaign
from tests.kills.points import ACTIONS
from tests.kills.scenarios import SCENARIOS
from tests.kills.tally import table
from tests.kills.trial import memory


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    asked.add_argument("--tries", type=int, default=20, help="of each command")
    asked.add_argument("--commands", nargs="*", default=[], help="names of the commands; without, all")
    asked.add_argument("--action", choices=[*ACTIONS[1:], *SIGNALS], default="kill", help="what happens at a moment")
    asked.add_argument("--minutes", type=float, default=math.inf, help="after which no try begins")
    asked.add_argument("--seed", type=int, default=0, help="of the moments")
    asked.add_argument("--out", type=Path, default=Path("build/kills"), help="folder for results.json")
    given = asked.parse_args()
    names = given.commands or [*SCENARIOS, *([REVIEW] if given.action == "kill" else [])]
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{given.action}-{given.seed}.json"

    def write(campaign: Campaign) -> None:
        path.write_text(json.dumps({name: tally.about() for name, tally in campaign.tallies.items()}, indent=1))

    with tempfile.TemporaryDirectory(prefix="kills-", dir=memory()) as folder:
        campaign = Campaign(Path(folder), given.seed, time.monotonic() + 60 * given.minutes, write)
        for name in names:
            print(campaign.run(name, given.tries, given.action), file=sys.stderr, flush=True)
            write(campaign)
    print("\n".join(table(campaign.tallies, given.action)))
    return int(any(tally.findings for tally in campaign.tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
