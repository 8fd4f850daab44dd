"""A data set of synthetic images, made from the label maps of another data set; its landmarks stay where they are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from anatomark.core.grid import Unit
from anatomark.core.image import Image
from anatomark.data.cache import require_alike
from anatomark.data.description import Case, Dataset, load_dataset
from anatomark.data.synthetic_images import Synthesis, label_array, synthetic_image
from anatomark.data.tissue_table import read_tissues
from anatomark.errors import ImageError, OutputError, SettingsError
from anatomark.formats.atomic import new_folder, replacing, write_json, write_text
from anatomark.formats.images import read_image, write_image
from anatomark.formats.placements import landmarks_table
from anatomark.formats.table import write_table

COPIES = 4


def synthesize_dataset(
    dataset: Dataset | str | Path,
    *,
    out: str | Path,
    labels: str | None = None,
    tissues: str | Path | None = None,
    synthesis: Synthesis | None = None,
    copies: int = COPIES,
    splits: Sequence[str] = (),
    seed: int = 0,
    root: str | Path | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Path:
    """Makes a data set of `copies` synthetic images of each label map; the path of its dataset.yaml.

    The label maps are the images of `dataset` themselves, or, with `labels`, files beside them. Then the real images
    belong to the new set too (they stay where they are), and a case without a map is no error. Names, pairs, subjects,
    splits and measurements are those of `dataset`, the landmarks its reference. Image k of a case depends on `seed`,
    the case's name and k alone, so a stopped call goes on where it was, and more copies may be added.

    Args:
        dataset: a data set, or the path of its dataset.yaml.
        out: folder of the new set.
        labels: path of the label maps below the data set's folder, in which {case} stands for the case name.
        tissues: a table as `anatomark.data.tissue_table` reads it; takes the place of the tissues of `synthesis`.
        synthesis: what the images have in common.
        copies: images of each label map.
        splits: images are made of the cases in these; by default of all, or with `labels` of the split called train.
        seed: of all that is drawn.
        root: folder that the data lie under, where the description does not say.
        progress: called with the number of images done, that of all, and the next one's name.

    Returns:
        The path of the new description.

    Raises:
        ImageError: a file is no label map.
        SettingsError: a setting is out of range.
        OutputError: `out` holds another set.

    Examples:
        >>> anatomark.synthesize_dataset("maps/dataset.yaml", out="synthetic", copies=8)
        PosixPath('synthetic/dataset.yaml')
    """
    if copies < 1:
        raise SettingsError(f"copies is {copies}; expected the number of images of each label map, 1 or more")
    if not isinstance(dataset, Dataset):
        dataset = load_dataset(dataset, root)
    asked = synthesis or Synthesis()
    if tissues is not None:
        asked = replace(asked, tissues=read_tissues(tissues))
    maps = _label_maps(dataset, labels, splits)
    folder = Path(out)
    originals = list(dataset.cases) if labels is not None else []
    with new_folder(folder):
        _require_same_request(folder, {"synthesis": asdict(asked), "seed": seed, "labels": labels})
        rows = [_original_row(case) for case in originals]
        placements = {(case.id, ""): case.reference.select(dataset.names) for case in originals}
        for done, (case, path) in enumerate(maps.items()):
            progress(done, len(maps), case.id)
            files = [
                folder / "images" / f"{case.id}_synthetic{k}{_ending(dataset.ndim, dataset.unit)}"
                for k in range(1, copies + 1)
            ]
            _write_images(dataset, case, path if labels is not None else None, files, asked, seed)
            for k, file in enumerate(files, 1):
                name = f"{case.id}_synthetic{k}"
                rows.append((f"images/{file.name}", name, case.subject, case.split or "", *[""] * dataset.ndim))
                placements[name, ""] = case.reference.select(dataset.names)
        progress(len(maps), len(maps), "")
        write_table(landmarks_table(placements), folder / "landmarks.csv")
        return _write_description(folder, dataset, rows, originals)


def _label_maps(dataset: Dataset, labels: str | None, splits: Sequence[str]) -> dict[Case, Path]:
    """{case: its label map} of the cases that images are made of."""
    chosen = list(splits) or (["train"] if labels is not None and "train" in dataset.splits else [])
    cases = [case for name in dict.fromkeys(chosen) for case in dataset.split(name)] if chosen else dataset.cases
    if labels is None:
        return {case: case.image_path for case in cases}
    if "{case}" not in labels:
        raise SettingsError(f"labels is {labels!r}; it needs {{case}}, which stands for the case name")
    if any(case.page is not None for case in dataset.cases):
        raise SettingsError(
            "the images are pages of stacks, which label maps cannot stand beside; split them into files"
        )
    paths = {case: dataset.root / labels.replace("{case}", case.id) for case in cases}
    found = {case: path for case, path in paths.items() if path.exists()}
    if not found:
        raise ImageError(f"no label map found by {dataset.root / labels}; correct the pattern")
    return found


def _write_images(
    dataset: Dataset, case: Case, path: Path | None, files: Sequence[Path], synthesis: Synthesis, seed: int
) -> None:
    """Those of `files`, the images 1, 2, ... of a case, that are not there yet; `path` is the map, if not its image."""
    missing = [(k, file) for k, file in enumerate(files, 1) if not file.exists()]
    if not missing:
        return
    source = path or case.image_path
    read = case.read_image() if path is None else read_image(path, spacing=case.spacing if case.is_photo else None)
    require_alike(read.grid, dataset, source)
    labels = Image(label_array(read, source), read.grid)
    marks = case.reference
    if marks.present.any() and not read.grid.contains(marks.points[marks.present]).any():
        raise ImageError(f"{source} holds none of the landmarks of case {case.id!r}; give the label map of its image")
    for k, file in missing:
        write_image(synthetic_image(labels, synthesis, seed=(seed, crc32(case.id.encode()), k)), file)


def _ending(ndim: int, unit: Unit) -> str:
    """Of the files that keep the whole Grid."""
    return ".nii.gz" if ndim == 3 else ".nrrd" if unit == "mm" else ".png"


def _require_same_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Keeps in synthesis.json what the images are made by; OutputError where others are there already."""
    path = folder / "synthesis.json"
    wanted = json.loads(json.dumps(request))
    if path.exists():
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            held = None
        if held != wanted:
            raise OutputError(f"{folder} already holds images made with other settings ({path}); name another folder")
    elif any(folder.iterdir()):
        raise OutputError(f"{folder} already holds other files; name a new folder")
    write_json(path, wanted)


def _original_row(case: Case) -> tuple[str, ...]:
    spacing = [repr(s) for s in case.spacing or ()] or [""] * case.annotation.ndim
    return (str(case.image_path.absolute()), case.id, case.subject, case.split or "", *spacing)


def _write_description(
    folder: Path, dataset: Dataset, rows: Sequence[tuple[str, ...]], originals: Sequence[Case]
) -> Path:
    import yaml

    spacing = [f"spacing_{axis}" for axis in "xyz"[: dataset.ndim]]
    with_spacing = any(case.spacing for case in originals)
    header = ("image", "case", "subject", "split", *spacing)
    kept = len(header) if with_spacing else 4
    with replacing(folder / "cases.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(row[:kept] for row in (header, *rows))
    images: dict[str, Any] = {"table": "cases.csv", "columns": {"image": "image", "case": "case"}}
    if with_spacing:
        images["columns"]["spacing"] = spacing
    if any(case.orientation == "stored" for case in originals):
        images["orientation"] = "stored"
    description: dict[str, Any] = {
        "name": f"{dataset.name}_synthetic",
        "dimension": dataset.ndim,
        "landmarks": list(dataset.names),
        "pairs": [list(pair) for pair in dataset.pairs],
        "images": images,
        "subjects": {"column": "subject"},
        "splits": {"column": "split"},
        "annotations": {"table": "landmarks.csv"},
        "missing_values": [],  # a point that repeats in all copies of a map is no code
        "measurements": [m.model_dump(exclude_defaults=True, mode="json") for m in dataset.measurements],
    }
    text = yaml.safe_dump(description, sort_keys=False, default_flow_style=None, width=100)
    path = folder / "dataset.yaml"
    write_text(path, f"# Made by anatomark: synthetic images from the label maps of {dataset.name}.\n{text}")
    return path
