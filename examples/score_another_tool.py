"""Score the landmarks that another program found, and compare them with those of anatomark.

    python examples/score_another_tool.py DATASET.yaml THEIRS [--ours predicted] --split test --out comparison

THEIRS is a table or file with all images (the CSV of DeepLabCut or Lightning Pose, COCO, a table in any layout), or a
folder with a landmark file for each image (.fcsv or .mrk.json, as ALI and Slicer write them). Files of a folder are
matched to cases by their names; `--suffix _Pred` takes off what a program appends to these.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import anatomark

ENDINGS = (".mrk.json", ".fcsv")


def one_table(folder: Path, suffix: str, out: Path) -> Path:
    """The table `out` of all landmark files in `folder`, each called as its case."""
    with tempfile.TemporaryDirectory() as renamed:
        for file in sorted(folder.iterdir()):
            ending = next((ending for ending in ENDINGS if file.name.endswith(ending)), None)
            if ending is not None:
                case = file.name.removesuffix(ending).removesuffix(suffix)
                shutil.copy(file, Path(renamed) / f"{case}{ending}")
        anatomark.convert(renamed, out)
    return out


def main(arguments: list[str] | None = None) -> None:
    """Write evaluation and comparison into `--out`, and print the error and the sentences of the comparison."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("dataset", type=Path)
    asked.add_argument("theirs", type=Path)
    asked.add_argument("--ours", type=Path, help="what `anatomark predict` wrote, to compare with")
    asked.add_argument("--split", default=None)
    asked.add_argument("--frame", default=None, help="LPS, RAS or pixel, where their file does not state it")
    asked.add_argument("--suffix", default="", help="what stands after the case in the names of their files")
    asked.add_argument("--out", type=Path, required=True)
    given = asked.parse_args(arguments)

    given.out.mkdir(parents=True, exist_ok=True)
    theirs = given.theirs
    if theirs.is_dir():
        theirs = one_table(theirs, given.suffix, given.out / "theirs.csv")
    dataset = anatomark.load_dataset(given.dataset)
    scores = anatomark.evaluate(dataset, theirs, split=given.split, frame=given.frame, out=given.out / "theirs")
    print(f"theirs: mean radial error {scores.overall.mre:.2f} {scores.unit}, {scores.overall.n_missing} missing")
    if given.ours is not None:
        pair, names = (given.ours, theirs), ("ours", "theirs")
        compared = anatomark.compare(
            dataset, pair, names=names, split=given.split, frame=given.frame, out=given.out / "comparison"
        )
        print(*compared.sentences, sep="\n")


if __name__ == "__main__":
    main()
