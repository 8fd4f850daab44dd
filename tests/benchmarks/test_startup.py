"""Starting times: commands are run and have to succeed, and what they cost is told in order."""

import subprocess
import sys

import pytest

from benchmarks.startup import once


def test_the_work_of_a_process_is_told_beside_the_clock() -> None:
    seconds, worked = once([sys.executable, "-c", "sum(range(3_000_000))"])
    assert worked > 0
    assert seconds > 0
    slept, idle = once([sys.executable, "-S", "-c", "import time; time.sleep(0.3)"])
    assert slept > 0.3
    assert idle < slept


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        once([sys.executable, "-c", "raise SystemExit(3)"])
