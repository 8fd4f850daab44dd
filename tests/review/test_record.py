"""The record: on the disk before it counts, never over what somebody else changed, and whole after a kill."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from anatomark.core.landmarks import State
from anatomark.errors import OutputError, ReviewError, SettingsError
from anatomark.formats.table import read_table
from anatomark.review.entries import Placement
from anatomark.review.record import Record, StaleError

NAMES = ("sella", "nasion", "orbitale")


def opened(folder, reviewer="anna", **given):
    return Record(folder, reviewer, **{"dataset": "set", "order": NAMES, "ndim": 2, "unit": "mm"} | given)


def at(*point):
    return Placement(State.PRESENT, tuple(float(c) for c in point))


@pytest.fixture
def record(tmp_path):
    made = opened(tmp_path)
    yield made
    made.close()


def test_a_change_is_in_the_table_with_who_and_when(record, tmp_path):
    review = record.change("case_1", 0, {"nasion": at(1.5, 2), "sella": at(0.1 + 0.2, -4)})
    record.change("case_1", review.revision, {"orbitale": Placement(State.ABSENT)}, note='blurred, "left"\nhalf')
    table = read_table(tmp_path / "anna.csv")
    assert table.landmark.tolist() == ["sella", "nasion", "orbitale"]  # in the order of the data set
    np.testing.assert_array_equal(table.coordinates[:2], [[0.1 + 0.2, -4], [1.5, 2]])
    assert table.states.tolist() == [State.PRESENT, State.PRESENT, State.ABSENT]
    assert set(table.observer.tolist()) == {"anna"}
    assert table.changed is not None
    assert table.changed[0] == review.changed
    assert review.changed.endswith("Z")
    assert (table.frame, table.unit) == ("LPS", "mm")
    about = json.loads((tmp_path / "anna.cases.json").read_text())
    assert about["cases"]["case_1"]["note"] == 'blurred, "left"\nhalf'


def test_a_stale_change_is_refused_and_changes_nothing(record, tmp_path):
    first = record.change("case_1", 0, {"sella": at(1, 1)})
    before = [(tmp_path / name).read_bytes() for name in ("anna.csv", "anna.journal.jsonl")]
    with pytest.raises(StaleError, match="case_1 was changed in another window") as stale:
        record.change("case_1", 0, {"sella": at(2, 2)})
    assert stale.value.now == first
    assert [(tmp_path / name).read_bytes() for name in ("anna.csv", "anna.journal.jsonl")] == before
    record.change("case_2", 0, {"sella": at(2, 2)})  # another case is another matter
    assert record.change("case_1", first.revision, {"sella": at(2, 2)}).placements["sella"].point == (2, 2)


def test_opened_again_it_is_as_it_was(tmp_path):
    record = opened(tmp_path)
    review = record.change("case_1", 0, {"sella": at(1, 1), "nasion": Placement(State.NOT_ANNOTATED)})
    review = record.change("case_1", review.revision, {"sella": None}, accepted=True, note="fine")
    record.change("case_2", 0, {"sella": at(3, 3)})
    cases = record.cases
    record.close()
    again = opened(tmp_path)
    assert again.cases == cases
    assert again.case("case_1").accepted == again.case("case_1").changed
    assert set(again.case("case_1").placements) == {"nasion"}
    assert again.revision == 3
    again.close()


def test_a_landmark_set_again_takes_the_acceptance_back(record):
    review = record.change("case_1", 0, {"sella": at(1, 1)}, accepted=True)
    assert review.accepted
    review = record.change("case_1", review.revision, {}, note="only a note")
    assert review.accepted
    assert record.change("case_1", review.revision, {"sella": at(1, 2)}).accepted is None


def test_two_open_reviews_of_one_reviewer_are_one_too_many(record, tmp_path):
    with pytest.raises(ReviewError, match=r"anna\.csv is open in another review"):
        opened(tmp_path)
    opened(tmp_path, "ben").close()  # another reviewer is welcome
    record.close()
    opened(tmp_path).close()


def test_half_a_line_at_the_end_is_cut_off_and_a_damaged_one_refused(tmp_path):
    record = opened(tmp_path)
    record.change("case_1", 0, {"sella": at(1, 1)})
    record.close()
    journal = tmp_path / "anna.journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"revision": 2, "case": "case_1", "at": "20')
    (tmp_path / "anna.csv").unlink()
    record = opened(tmp_path)
    assert record.case("case_1").placements["sella"].point == (1, 1)
    assert journal.read_bytes() == whole
    assert read_table(tmp_path / "anna.csv").landmark.tolist() == ["sella"]  # made anew from the journal
    record.close()
    journal.write_bytes(whole + b"{}\n" + whole.splitlines()[1] + b"\n")
    with pytest.raises(ReviewError, match=r"line 3 is damaged"):
        opened(tmp_path)


def test_a_table_without_its_journal_is_taken_over_and_a_foreign_one_left_alone(tmp_path):
    record = opened(tmp_path)
    review = record.change("case_1", 0, {"sella": at(1, 1), "nasion": Placement(State.ABSENT)})
    record.close()
    (tmp_path / "anna.journal.jsonl").unlink()
    record = opened(tmp_path)
    assert record.case("case_1").placements == review.placements
    record.close()
    original = "image,landmark,x,y,frame\ncase_1,sella,1,2,LPS\n"
    (tmp_path / "senior.csv").write_text(original)
    with pytest.raises(ReviewError, match=r"senior\.csv exists and is not a review"):
        opened(tmp_path, "senior")
    assert (tmp_path / "senior.csv").read_text() == original


def test_a_table_that_somebody_edited_is_kept_beside_the_new_one(tmp_path):
    record = opened(tmp_path)
    record.change("case_1", 0, {"sella": at(1, 1)})
    record.close()
    table, kept = tmp_path / "anna.csv", tmp_path / "anna.csv.bak"
    whole = table.read_bytes()
    opened(tmp_path).close()
    assert not kept.exists()
    edited = whole.replace(b"1.0", b"7.5")
    table.write_bytes(edited)
    opened(tmp_path).close()
    assert table.read_bytes() == whole
    assert kept.read_bytes() == edited


def test_a_journal_of_other_images_is_refused(tmp_path):
    record = opened(tmp_path)
    record.change("case_1", 0, {"sella": at(1, 1)})
    record.close()
    with pytest.raises(ReviewError, match=r"has 2D points in mm, but the images are 2D in px"):
        opened(tmp_path, unit="px")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".anna", "anna.", "x" * 80, "a\nb"])
def test_a_name_that_cannot_name_a_file_is_refused(tmp_path, name):
    with pytest.raises(SettingsError, match="cannot be a file name"):
        opened(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="give another folder for the review with --out"):
        opened(tmp_path / "file" / "annotations")


def test_a_full_disk_saves_nothing_and_says_so(record, tmp_path, monkeypatch):
    review = record.change("case_1", 0, {"sella": at(1, 1)})
    before = (tmp_path / "anna.journal.jsonl").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="nothing was saved"):
            record.change("case_1", review.revision, {"sella": at(2, 2)})
    assert (tmp_path / "anna.journal.jsonl").read_bytes() == before
    assert record.case("case_1") == review
    record.change("case_1", review.revision, {"sella": at(2, 2)})


CHANGING = """
import sys
from pathlib import Path
from anatomark.core.landmarks import State
from anatomark.review.entries import Placement
from anatomark.review.record import Record
record = Record(Path(sys.argv[1]), "anna", dataset="set", order=("sella",), ndim=2, unit="mm")
for k in range(1, 10_000):
    base = record.case("case_1").revision
    record.change("case_1", base, {"sella": Placement(State.PRESENT, (float(k), 0.0))})
    print(k, flush=True)
"""


def test_a_killed_process_loses_no_change_that_it_confirmed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", CHANGING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 25:
            break
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    confirmed = int(rest[-1]) if rest else 25
    process.wait()
    process.stdout.close()
    record = opened(tmp_path)  # its lock went with it
    kept = record.case("case_1").placements["sella"].point[0]
    assert confirmed <= kept <= confirmed + 1
    assert read_table(tmp_path / "anna.csv").coordinates[0, 0] == kept
    record.close()


def test_a_clock_that_is_set_back_makes_no_later_change_an_earlier_one(tmp_path, monkeypatch):
    def clock(text):
        monkeypatch.setattr("anatomark.review.record._now", lambda: text)

    clock("2031-05-02T10:00:00.000Z")
    record = opened(tmp_path)
    first = record.change("case_1", 0, {"sella": at(1, 1)})
    clock("2026-05-02T10:00:00.000Z")
    second = record.change("case_1", first.revision, {"sella": at(2, 2)})
    assert second.changed >= first.changed
    record.close()
    again = opened(tmp_path)  # which knows the time from its journal
    third = again.change("case_2", 0, {"sella": at(3, 3)})
    again.close()
    assert third.changed >= second.changed
    assert read_table(tmp_path / "anna.csv").coordinates.tolist() == [[2, 2], [3, 3]]
