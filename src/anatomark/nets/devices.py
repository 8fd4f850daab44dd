"""Which device and precision a run uses, and how much memory it may take."""

from __future__ import annotations

import os
from pathlib import Path

from anatomark.errors import SettingsError

SPINS = "10000"  # about 30 microseconds: as fast as longer ones on an idle machine


def wait_patiently() -> None:
    """Let threads that wait for each other soon sleep, unless the environment says how they are to wait.

    As they are, they spin for about a millisecond, which beside other work takes the cores from those they wait for.
    Works where PyTorch is not loaded yet and has GNU's OpenMP, as on Linux.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def choose_device(device: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; SettingsError where it is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise SettingsError(f"device is {device!r}; it may be auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device cuda was asked for, but PyTorch sees no CUDA device here; use --device cpu")
    return device


def choose_precision(precision: str, device: str) -> str:
    """ "bf16-mixed" for "auto" where the device computes in bfloat16, else "32-true"."""
    import torch

    if precision != "auto":
        return precision
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "32-true"
    return "bf16-mixed" if "avx512_bf16" in flags or "amx_bf16" in flags else "32-true"


def available_memory_bytes(device: str) -> float:
    """Free memory of the device; of the machine for the CPU."""
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 2
