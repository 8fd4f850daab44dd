"""A few steps of one stage on the clock, each way of feeding it."""

from benchmarks import training


def test_ways_of_training_stage_1_are_measured(monkeypatch) -> None:
    monkeypatch.setitem(training.SIZES, 2, ((64, 48), 1.0, 3))
    monkeypatch.setitem(training.STAGES, "two-stage", ("stage1",))
    monkeypatch.setattr(training, "SINGLE", 2)
    rows = {row["how"]: row for row in training.measured_stages("two-stage", 2, device="cpu", steps=1)}
    assert list(rows) == ["as it is", "MONAI loader", "single patches"]
    assert all(row["step"] > 0 and 0 < row["network_share"] < 100 for row in rows.values())
    assert all(row["patches_per_second"] > 0 for row in rows.values())
