import logging
import subprocess
import sys

import pytest

from anatomark.cli.remarks import show_remarks
from anatomark.formats.header import LOGGER, tell


def test_a_remark_is_one_line_once_and_goes_no_further(capsys: pytest.CaptureFixture[str], caplog):
    with show_remarks():
        tell(["a.nii.gz: sform and\nqform disagree", "b.png is stored turned"])
        tell(["b.png is stored turned"])
    captured = capsys.readouterr()
    assert captured.err == "warning: a.nii.gz: sform and qform disagree\nwarning: b.png is stored turned\n"
    assert captured.out == ""
    assert not caplog.records
    assert not LOGGER.handlers


def test_many_files_of_one_kind_do_not_flood_the_terminal(capsys: pytest.CaptureFixture[str]):
    with show_remarks():
        for number in range(1000):
            tell([f"film {number}.dcm: its mm lie in the plane of the detector, where things are larger"])
        tell(["other.nii.gz: sform and qform disagree"])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[2].startswith("warning: film 2.dcm: its mm lie")
    assert lines[3] == "warning: other.nii.gz: sform and qform disagree"
    assert lines[4].startswith("warning: 997 more files like these: ... ")
    assert lines[4].endswith("where things are larger")


def test_without_a_command_line_remarks_are_ordinary_log_records(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, logger="anatomark"):
        tell(["c.dcm: lengths are at the detector"])
    assert [record.getMessage() for record in caplog.records] == ["c.dcm: lengths are at the detector"]


def test_a_remark_is_not_lost_while_a_native_reader_is_silenced():
    code = (
        "import sys\n"
        "from anatomark.cli.remarks import show_remarks\n"
        "from anatomark.formats.header import tell\n"
        "from anatomark.formats.itk import silent\n"
        "with show_remarks(), silent():\n"
        "    tell(['a line'])\n"
        "    print('chatter', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "warning: a line\n"
