"""The evaluator on real coordinates of another group's detector, whose errors are published."""

import os
from pathlib import Path

import numpy as np
import pytest

from anatomark.data.description import load_dataset
from anatomark.errors import FrameError
from anatomark.evaluation.evaluate import evaluate

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("ANATOMARK_DATA") or REPOSITORY.parent / "shared" / "data")
TABLE = DATA / "cmf_ct" / "published_predictions.csv"


@pytest.mark.data
def test_published_ct_predictions_get_their_published_errors():
    if not TABLE.is_file():
        pytest.skip(f"needs the data set cmf_ct under ANATOMARK_DATA ({DATA})")
    data = load_dataset(REPOSITORY / "datasets" / "cmf_ct.yaml", DATA)
    with pytest.raises(FrameError):
        evaluate(data, TABLE)
    metrics = evaluate(data, TABLE, frame="RAS")
    overall = metrics["overall"]
    assert metrics["n_cases"] == 15
    found = overall["n"] - overall["n_missing"]
    assert (found, overall["n_missing"]) == (328, 10)
    assert (round(overall["mre"], 2), round(overall["median"], 2)) == (2.72, 2.20)
    # published as percentages of the found; ours count the ten misses as failures
    of_found = [overall["sdr"][t] * overall["n"] / found for t in ("2", "4")]
    assert np.round(of_found).tolist() == [44, 87]
    assert metrics["mean_shape"]["overall"]["mre"] > 5 * overall["mre"]
