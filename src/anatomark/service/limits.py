"""Limits of a service."""

from __future__ import annotations

from dataclasses import dataclass

from anatomark.errors import SettingsError

BYTES_A_VOXEL = 8  # of the largest number type


@dataclass(frozen=True)
class Limits:
    """`upload_mib` per request, `voxels` per image, `seconds` per prediction, waiting predictions in the `queue`."""

    upload_mib: float = 512
    voxels: int = 2**28  # 512 x 512 x 1024
    seconds: float = 300
    queue: int = 8

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {value}; give {wanted}"
            for name, value, low, wanted in (
                ("--max-upload-mib", self.upload_mib, 0, "a size above 0"),
                ("--max-voxels", self.voxels, 1, "2 voxels or more"),
                ("--timeout", self.seconds, 0, "a number of seconds above 0"),
                ("--queue", self.queue, -1, "0 or more"),
            )
            if not low < value < float("inf")
        ]
        if faults:
            raise SettingsError("; ".join(faults))

    @property
    def upload_bytes(self) -> int:
        return int(self.upload_mib * 2**20)

    @property
    def decoded_bytes(self) -> int:
        """Limit on the unpacked files of one image."""
        return self.voxels * BYTES_A_VOXEL
