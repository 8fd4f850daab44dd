import os

import pytest

from anatomark.errors import AccessError
from anatomark.web.roots import AllowedRoots


@pytest.fixture
def tree(tmp_path):
    """allowed/ (with scan.nii, sub/scan.nii, links in and out), more/ and secret/."""
    for name in ("allowed/sub", "more", "secret", "allowed_too"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("allowed/scan.nii", "allowed/sub/scan.nii", "more/other.nii", "secret/s.nii", "allowed_too/a.nii"):
        (tmp_path / name).write_text(name)
    (tmp_path / "allowed/inside.nii").symlink_to(tmp_path / "allowed/sub/scan.nii")
    (tmp_path / "allowed/outside.nii").symlink_to(tmp_path / "secret/s.nii")
    (tmp_path / "allowed/door").symlink_to(tmp_path / "secret")
    if os.name != "nt":
        os.mkfifo(tmp_path / "allowed/pipe")
    (tmp_path / "allowed/loop").symlink_to(tmp_path / "allowed/loop")
    return tmp_path


def test_what_lies_below_a_root_is_found(tree):
    roots = AllowedRoots([tree / "allowed", tree / "more"])
    assert roots.resolve("scan.nii") == tree.resolve() / "allowed/scan.nii"
    assert roots.resolve("sub/scan.nii").read_text() == "allowed/sub/scan.nii"
    assert roots.resolve("other.nii").read_text() == "more/other.nii"
    assert roots.resolve("inside.nii") == tree.resolve() / "allowed/sub/scan.nii"


@pytest.mark.parametrize(
    "path",
    [
        "../secret/s.nii", "sub/../../secret/s.nii", "sub/../scan.nii", "..", ".", "./scan.nii", "", "/", "/etc/passwd",
        "//etc/passwd", "sub//scan.nii", "sub/", "scan.nii\0", "scan.nii\0.png", "\0", "..\\secret\\s.nii",
        "sub\\scan.nii", "C:/Windows/win.ini", "C:scan.nii", "\\\\server\\share\\s.nii", "scan.nii::$DATA", "con",
        "sub/NUL.nii", "com1", "scan.nii.", "scan.nii ", "scan\n.nii", "scan*.nii", "x" * 1001, "\ud800",
    ],
)  # fmt: skip
def test_what_is_no_plain_path_is_refused(tree, path):
    with pytest.raises(AccessError, match="not a plain relative path") as error:
        AllowedRoots([tree / "allowed"]).resolve(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "path",
    [
        "outside.nii", "door", "door/s.nii", "loop", "missing.nii", "missing/s.nii", "scan.nii/x", "~", "x" * 300,
        "%2e%2e/secret/s.nii", "%252e%252e/secret/s.nii", "..%2fsecret%2fs.nii", "..%5csecret", "..%00/secret",
        "pipe", "..;/secret", "\u2025/secret/s.nii", "\uff0e\uff0e/secret/s.nii", "..\u2215secret\u2215s.nii",
        "a/" * 400 + "a",
    ],
)  # fmt: skip
def test_what_leads_outside_or_nowhere_is_refused_in_the_same_words(tree, path):
    with pytest.raises(AccessError, match="is not below an allowed folder"):
        AllowedRoots([tree / "allowed"]).resolve(path)


def test_a_root_that_begins_like_another_is_another(tree):
    (tree / "allowed/too").symlink_to(tree / "allowed_too")
    with pytest.raises(AccessError, match="not below"):
        AllowedRoots([tree / "allowed"]).resolve("too/a.nii")


def test_a_link_out_of_a_folder_is_found_among_its_entries(tree):
    roots = AllowedRoots([tree / "allowed"])
    roots.require_inside(roots.resolve("sub"))
    with pytest.raises(AccessError, match="outside the allowed folders"):
        roots.require_inside(tree / "allowed")


def test_roots_are_folders_that_exist(tree):
    for wrong in (tree / "nowhere", tree / "allowed/scan.nii"):
        with pytest.raises(AccessError, match="is not a folder"):
            AllowedRoots([wrong])


def test_without_roots_nothing_is_read():
    with pytest.raises(AccessError, match="--root FOLDER"):
        AllowedRoots([]).resolve("scan.nii")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may read everything")
def test_what_may_not_be_read_is_refused(tree):
    (tree / "allowed/sub").chmod(0)
    try:
        with pytest.raises(AccessError, match="not below"):
            AllowedRoots([tree / "allowed"]).resolve("sub/scan.nii")
    finally:
        (tree / "allowed/sub").chmod(0o755)
