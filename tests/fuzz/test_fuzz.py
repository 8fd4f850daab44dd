"""A short run of the fuzzer, and that it notices what it is for."""

import os
import signal
import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anatomark.errors import AnatomarkError, one_line
from anatomark.formats.json_text import parsed
from tests.fuzz.campaign import Campaign
from tests.fuzz.door import Door, changed_files, changes_of
from tests.fuzz.doors import DOORS

QUICK = [name for name in DOORS if not name.startswith(("model", "service"))]  # these load torch first


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the memory of a process is read from /proc")
def test_changed_files_are_read_or_refused_in_a_line(tmp_path):
    """A few files through each door; `make fuzz` tries many."""
    campaign = Campaign(20, tmp_path)
    try:
        for name in QUICK:
            campaign.run(name, 8)
    finally:
        campaign.close()
    assert {name: tally.findings for name, tally in campaign.tallies.items() if tally.findings} == {}
    ends = [tally.ends for tally in campaign.tallies.values()]
    assert sum(end.get("value", 0) for end in ends) > 50
    assert sum(end.get("refused", 0) for end in ends) > 50


def test_the_seeds_of_every_door_are_known_by_their_structure():
    for name in QUICK:
        for files in DOORS[name].seeds():
            changed = [content for file, content in files.items() if file not in DOORS[name].fixed]
            assert any(changes_of(content) for content in changed) or "webp" in name, name


def test_an_input_is_the_same_again():
    seeds = DOORS["image_png"].seeds()
    once = [changed_files(DOORS["image_png"], seeds, 3, number) for number in range(40)]
    assert once == [changed_files(DOORS["image_png"], seeds, 3, number) for number in range(40)]
    assert len({bytes(held["a.png"]) for held in once}) > 25


def test_what_is_wrong_is_told_apart(tmp_path):
    """An error of another kind, too much memory, and a refusal that is none."""
    from tests.fuzz.child import _outcome

    def lines(_):
        raise type("Crooked", (AnatomarkError,), {"__str__": lambda self: "a\nb"})()

    def memory(_):
        raise MemoryError

    ends = [(lambda _: 1, "value"), (lambda _: {}["a"], "error"), (lines, "lines"), (memory, "memory")]
    for enter, end in ends:
        assert _outcome(Door("x", list, enter), tmp_path)["end"] == end


def test_a_process_that_dies_is_counted_and_replaced(tmp_path, monkeypatch):
    """The child ends at an input of its own: the campaign goes on after it."""
    campaign = Campaign(1)
    try:
        campaign.run("landmarks_tps", 3)
        assert campaign._child is not None
        os.kill(campaign._child.process, signal.SIGKILL)
        began = time.monotonic()
        tally = campaign.run("landmarks_tps", 3)
        assert tally.inputs == 6
        assert time.monotonic() - began < 110
    finally:
        campaign.close()


@given(st.text(max_size=3000))
def test_messages_are_one_line_whatever_they_quote(text):
    shown = str(AnatomarkError(f"{text}: is wrong"))
    assert len(shown.splitlines()) == 1
    assert len(shown) <= 4100


def test_short_messages_stay_as_they_are():
    assert (
        one_line("C:\\a  b.nii is wrong, got 'ü\u202f1'; do this") == "C:\\a  b.nii is wrong, got 'ü\u202f1'; do this"
    )
    assert one_line("x" * 1000).startswith("x" * 200 + "...")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_may_be_a_model(tmp_path_factory, held):
    """Values of any type in model.json are refused as a model."""
    import json

    from anatomark.card import read_card
    from anatomark.errors import ModelError

    folder = tmp_path_factory.mktemp("run")
    (folder / "model.json").write_text(json.dumps({"format": 2, "network": held, "landmarks": held}))
    with pytest.raises(ModelError):
        read_card(folder)


def test_json_nested_too_deep_is_a_value_error():
    with pytest.raises(ValueError, match="too deep"):
        parsed("[" * 100_000)
    assert parsed(b'{"a": [1]}') == {"a": [1]}


def test_changes_of_text_stay_what_they_are():
    """Changed JSON is JSON and changed safetensors have a header, but for those that shall not."""
    import json

    from tests.fuzz.text_changes import change_json

    rng = Random(3)
    seed = b'{"a": [1, {"b": null}], "c": "d"}'
    kept = [change_json(seed, rng) for _ in range(200)]
    for text in kept:
        if len(text) < 50_000:
            json.loads(text)
