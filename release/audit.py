"""Known vulnerabilities of the packages that constraints.txt pins: `make audit`.

pip-audit, installed into an environment below build/audit, asks PyPI's advisories about every pinned version; it
installs none of them. Ends with 1 for a vulnerability, and where the advisories did not answer: pip-audit itself calls
a package that it cannot find no vulnerability.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "build" / "audit"


def main() -> None:
    python = TOOL / "bin" / "python"
    venv.create(TOOL, clear=True, with_pip=True)
    install = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "pip-audit>=2.10"]
    if subprocess.run(install, check=False).returncode:
        sys.exit("not audited: pip-audit could not be installed; the messages above say why")
    audit = [python, "-m", "pip_audit", "--requirement", ROOT / "constraints.txt", "--no-deps", "--disable-pip"]
    done = subprocess.run(
        [*audit, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True, check=False
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        sys.exit(f"not audited: pip-audit gave no result; it said: {' '.join(done.stderr.split())[-300:]}")
    lines = faults_of(packages)
    print(*lines, sep="\n")
    if lines:
        sys.exit(1)
    print(f"{len(packages)} packages of constraints.txt audited: no known vulnerability")


def faults_of(packages: list[dict[str, Any]]) -> list[str]:
    """A line for each vulnerability in pip-audit's result, and one for the packages that it could not audit."""
    lines = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none yet'}"
        for one in packages
        for fault in one.get("vulns", ())
    ]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    if skipped:
        lines.append(
            f"not audited: {len(skipped)} of {len(packages)} packages, of which the advisory service says nothing "
            f"({', '.join(skipped[:3])}, ...); run this where https://pypi.org can be reached"
        )
    return lines or ([] if packages else ["not audited: pip-audit found no package in constraints.txt"])


if __name__ == "__main__":
    main()
