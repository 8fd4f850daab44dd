"""The memory of this machine and of its processes."""

from __future__ import annotations

import os
from pathlib import Path

_SHARE = 0.85  # of the machine, for all processes together


def memory_share(processes: int) -> int:
    """Bytes that each of so many processes may take."""
    return int(_SHARE * _all_bytes() / processes)


def resident_bytes(process: int) -> int:
    """Bytes of memory that a process has now; 0 where it has ended, or where the system does not tell (not Linux)."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _all_bytes() -> int:
    """Bytes of memory of the machine, or of the container."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return found
