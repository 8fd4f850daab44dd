"""Runs `anatomark` verbs, one a line of standard input, as if PyTorch and what comes with it were not installed.

Each line is a JSON list of arguments; the answer to it is a line with the exit code.
"""

import json
import sys

TRAINING = ("torch", "lightning_fabric", "safetensors", "tensorboardX")


class NotInstalled:
    """A finder of modules to which `TRAINING` is not there."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in TRAINING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, NotInstalled())
    from anatomark.cli.main import run

    for line in sys.stdin:
        code = run(json.loads(line))
        print(f"exit code {code}", flush=True)
