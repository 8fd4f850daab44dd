"""Which image a name in a file means."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from anatomark.formats.image_names import ImageNames, existing, file_named, guess_remark

PATHS = [Path("/d/a/scan.nii.gz"), Path("/d/b/scan.nii.gz"), Path("/d/c/Müller 1.PNG"), Path("/d/c/007.png")]
IDS = ["a", "b", "Müller 1", "007"]


def names() -> ImageNames:
    return ImageNames(IDS, PATHS)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a", 0),
        ("b/scan.nii.gz", 1),
        ("b\\scan.nii.gz", 1),
        ("C:\\Users\\x\\data\\b\\scan.nii.gz", 1),
        ("b/scan", 1),
        ("Müller 1", 2),
        ("Müller 1.PNG", 2),
        ("elsewhere/Müller 1.PNG", 2),
        (" Müller 1 ", 2),
        ("007.png", 3),
    ],
)
def test_what_a_table_may_write(name, image, form):
    matches = names().match([unicodedata.normalize(form, name)])
    assert matches.images == (image,)
    assert matches.guesses == ()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_disk_and_table_in_either_form_of_unicode(form):
    on_disk = unicodedata.normalize(form, "Ångström/Zoë.png")
    made = ImageNames([unicodedata.normalize(form, "Zoë")], [Path("/data") / on_disk])
    for name in ("Zoë", "Zoë.png", "Ångström/Zoë.png"):
        for other in ("NFC", "NFD"):
            assert made.match([unicodedata.normalize(other, name)]).images == (0,)


def test_a_name_that_may_be_several_is_none_and_told():
    matches = names().match(["scan.nii.gz", "scan", "z/scan.nii.gz"])
    assert matches.images == (-1, -1, -1)
    assert matches.several == dict.fromkeys(["scan.nii.gz", "scan", "z/scan.nii.gz"], (0, 1))


def test_letter_case_and_lost_zeros_count_where_they_are_the_only_ones():
    matches = names().match(["müller 1.png", "7", "a"])
    assert matches.images == (2, 3, 0)
    assert matches.guesses == (("müller 1.png", 2), ("7", 3))
    (line,) = guess_remark(matches, IDS, "t.csv")
    assert line.startswith("t.csv: ")
    assert "7 for 007" in line
    assert guess_remark(names().match(["a"]), IDS, "t.csv") == []


def test_likeness_gives_way_to_a_name_and_to_another_likeness():
    assert names().match(["007", "7"]).images == (3, -1), "007 is named already"
    assert names().match(["7", "07"]).images == (-1, -1), "two may mean it"
    two = ImageNames(["01", "1.0", "001"], [Path(f"/d/{n}.png") for n in ("01", "1.0", "001")])
    assert two.match(["1"]).images == (-1,)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_files_on_the_disk(tmp_path, form):
    folder = tmp_path / unicodedata.normalize(form, "Größe")
    folder.mkdir()
    file = folder / unicodedata.normalize(form, "Müller.PNG")
    file.touch()
    (folder / "p001.nii.gz").touch()
    for other in ("NFC", "NFD"):
        asked = unicodedata.normalize(other, "Größe/Müller.PNG")
        assert existing(tmp_path / asked).samefile(file)
        assert file_named(tmp_path, asked).samefile(file)
        assert file_named(tmp_path, asked.replace("/", "\\")).samefile(file)
    assert file_named(folder, "müller.png").samefile(file)
    assert file_named(folder, "p001") == folder / "p001.nii.gz"
    assert file_named(folder, "p002") == folder / "p002"
    (folder / "P001.png").touch()
    (folder / "p001.png").touch()
    assert file_named(folder, "p001") == folder / "p001", "two files may be meant"


@pytest.mark.parametrize("name", ["train/1.png", "set/train/1.png", "train\\1.png"])
def test_a_name_of_another_file_is_a_guess(tmp_path, name):
    """Names may come from another computer, so folders need not agree; where the named file is there, it is told."""
    for part in ("train", "test"):
        (tmp_path / "set" / part).mkdir(parents=True)
        (tmp_path / "set" / part / "1.png").touch()
    images = ImageNames(["1"], [tmp_path / "set" / "test" / "1.png"])
    assert images.match([name]).images == (0,)
    assert images.match([name]).guesses == ((name, 0),)
    for own in ("1", "1.png", "test/1.png", "set/test/1.png", "D:\\old\\1.png", "/other/train/1.png"):
        assert images.match([own]).guesses == ()
