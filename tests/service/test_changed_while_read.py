"""A file below a root that is written while it is read: what was verified is no longer what was read."""

import os

import numpy as np
import pytest

from anatomark import write_image
from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.errors import ImageError
from anatomark.service import carry_out
from anatomark.service.job import Job


class Model:
    """Predicts nothing, for it is not asked."""

    ndim, unit = 3, "mm"

    def predict(self, *_, **__):
        raise AssertionError("an image that changed was predicted")


def grow(path):
    with open(path, "ab") as file:
        file.write(b"more")


def swap(path):
    other = path.with_name("other")
    other.write_bytes(b"x" * path.stat().st_size)
    os.replace(other, path)


def lead_elsewhere(path):
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("change", [grow, swap, lead_elsewhere, os.remove])
def test_it_is_refused(tmp_path, monkeypatch, change):
    path = tmp_path / "a.nii"
    write_image(Image(np.ones((4, 5, 6), np.int16), Grid.from_geometry((4, 5, 6), spacing=(1, 1, 1))), path)
    read = carry_out.read_image

    def read_and_change(path):
        image = read(path)
        change(path)
        return image

    monkeypatch.setattr(carry_out, "read_image", read_and_change)
    with pytest.raises(ImageError, match=r"a\.nii changed while it was read; send the request again"):
        carry_out.carry_out(Job("deep", str(path), str(tmp_path)), Model())
