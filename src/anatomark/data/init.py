"""A first `dataset.yaml` from what a folder holds; what cannot be known is asked for, not guessed."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anatomark.data.discover import (
    FoundFiles,
    FoundImages,
    FoundTable,
    exports_in,
    find_files,
    find_images,
    find_tables,
    names_in,
)
from anatomark.data.discover_formats import FoundExport, frame_asked, is_challenge
from anatomark.data.discover_stack import find_stack
from anatomark.data.pairs import guess_pairs
from anatomark.data.schema import PLACEHOLDER
from anatomark.data.splits import our_split, propose_splits
from anatomark.errors import AnatomarkError, DescriptionError, OutputError
from anatomark.formats.atomic import replacing
from anatomark.formats.header import tell
from anatomark.formats.image_names import ImageNames
from anatomark.formats.images import PHOTOS, image_name, read_grid, read_header

FEWEST_SUBJECTS = 7  # below, 15 % of them is nobody
FRACTIONS = {"test": 0.15, "validation": 0.15, "train": 0.70}


def init_dataset(folder: str | Path, out: str | Path | None = None, *, seed: int = 0) -> Path:
    """Writes a first description of the images and landmark files in `folder`; its path.

    Frame and spacing are never guessed: `???` stands where only a person can know.

    Args:
        folder: with images, and landmark files or tables.
        out: the file to write; by default dataset.yaml in the folder.
        seed: of the random split.

    Returns:
        The path of the description.

    Raises:
        OutputError: that file exists already.
        DescriptionError: there is no image.

    Examples:
        >>> anatomark.init_dataset("my_xrays")
        PosixPath('my_xrays/dataset.yaml')
    """
    folder = Path(folder)
    path = Path(out) if out is not None else folder / "dataset.yaml"
    if path.exists():
        raise OutputError(f"{path} exists already; move it away, or choose another file with --out")
    beside = path.absolute().parent == folder.absolute()
    text = propose(folder, root=None if beside else str(folder.absolute()), seed=seed)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def propose(folder: str | Path, *, root: str | None = None, seed: int = 0) -> str:
    """The text of a description of what lies in `folder`, with `???` where a person has to fill in."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DescriptionError(f"{folder} is not a folder; give the folder that holds images and landmarks")
    images = find_images(folder)
    exports = exports_in(folder, images.cases)
    pages: dict[str, Path] = {}
    if not exports:
        pages, exports = find_stack(folder, images.cases)
    tables, unread = find_tables(folder, images.cases, exports)
    landmark_tables = [t for t in tables if {"landmark", "x", "y"} <= t.columns.keys()]
    case_tables = [t for t in tables if "landmark" not in t.columns and {"subject", "split"} & t.columns.keys()]
    files = _useful(find_files(folder, images.cases))
    # A model's output is no annotation, and points that are in a table and in files should not count twice.
    aside = [t.path for t in landmark_tables if any(t.values.get("presence", ())) or "predict" in t.path.lower()]
    # Reviews are found at their own place, see `reviews` in the schema; they are nobody's independent annotation.
    reviews = [t for t in landmark_tables if "changed" in t.columns]
    landmark_tables = [t for t in landmark_tables if t.path not in aside and t not in reviews]
    predicted = [e for e in exports if "predict" in e.path.lower() or landmark_tables]
    exports = [e for e in exports if e not in predicted]
    aside += [e.path for e in predicted]
    if landmark_tables or exports:
        aside += [f.pattern for f in files]
        files = []
    named_in = [*landmark_tables, *reviews]
    names = list(dict.fromkeys(n for t in named_in for n in t.values[t.columns["landmark"]]))
    names = names or list(dict.fromkeys(n for e in exports for n in e.names))
    names = names or list(dict.fromkeys(n for f in files for n in names_in(f.files)))
    ndim, spacing = _geometry(images, files, page=1 if pages else None)
    case_table, incomplete = _complete(case_tables, images)
    unread += incomplete
    tell([f"{folder}: {images.label_maps.told()}"] if images.label_maps.files else [])
    if images.elsewhere:
        tell([f"{folder / images.folder}: the images in it are taken; those in {_others(images)} are left aside"])
    tell(unread)
    parts = [
        "# A first description by `anatomark init`. Look it over; ??? marks what only you can know.",
        "# Then `anatomark check` reports what is wrong with the data.",
        f"name: {_text(folder.absolute().name or 'dataset')}",
        f"dimension: {ndim}",
        *([f"root: {_text(root)}"] if root else []),
        "",
        *_landmarks(names),
        "",
        *_images(images, spacing, case_table, ndim, len(pages)),
        "",
        *_subjects_and_splits(replace(images, cases=pages) if pages else images, case_table, seed),
        "",
        *_annotations(landmark_tables, exports, files),
        *(f"  # left aside: {path}" for path in aside),
        *(f"# {' '.join(line.split())}" for line in unread),
        *(f"# {t.path} is a review: it replaces the reference for the landmarks that it states" for t in reviews),
        "",
        "# What it means that a landmark has no row or point: `absent` (looked for, and not in the image)",
        "# or `not annotated` (unknown). A network learns from `absent` and not from `not annotated`.",
        "missing: not annotated",
        "",
        "# With several observers: their mean, or the name of one of them.",
        "reference: mean",
    ]
    return "\n".join(parts) + "\n"


def _useful(found: Sequence[FoundFiles]) -> list[FoundFiles]:
    """Patterns that are about as frequent as the most frequent; a stray file with a case's name is none."""
    return [files for files in found if len(files.files) >= 0.2 * len(found[0].files)]


def _geometry(images: FoundImages, files: Sequence[FoundFiles], page: int | None) -> tuple[int, list[str]]:
    """(dimension, lines for the spacing) after the first image that can be read."""
    reason = ""
    for path in images.cases.values():
        try:
            grid = read_grid(path, page=page)
        except AnatomarkError as error:
            reason = reason or str(error)
            continue
        if grid.unit == "mm":
            return grid.ndim, ["  # spacing: the files know it"]
        if any(f.pattern.endswith(".txt") for f in files) and grid.shape == (2400, 1935):
            return grid.ndim, ["  spacing: [0.1, 0.1]    # mm, as the cephalometric challenge states for its images"]
        return grid.ndim, [
            "  # These files know no spacing (their dpi speaks of printing). Write mm along "
            + ("x, y, such as [0.25, 0.25]," if grid.ndim == 2 else "x, y, z, such as [0.25, 0.25, 0.5],"),
            "  # or delete the line to work in pixels; lengths are then never called mm.",
            f"  spacing: {PLACEHOLDER}",
        ]
    raise DescriptionError(f"none of the {len(images.cases)} images can be read; of the first: {reason}")


def _complete(tables: Sequence[FoundTable], images: FoundImages) -> tuple[FoundTable | None, list[str]]:
    """The case table that lists the very files found, so that it may stand for them; and lines on those that do not."""
    names = ImageNames(list(images.cases), list(images.cases.values()))
    folder = {path.parent for path in images.cases.values()}
    remarks: list[str] = []
    for table in tables:
        rows = table.values[table.columns["image"]]
        matches = names.match(rows)
        if len(folder) == 1 and sorted(matches.images) == list(range(len(images.cases))):
            return table, remarks
        why = "its images lie in several folders"
        if len(folder) == 1:
            strange = next((repr(row) for row, at in zip(rows, matches.images, strict=True) if at < 0), None)
            lacking = next((case for at, case in enumerate(images.cases) if at not in matches.images), None)
            why = (
                f"{strange} is not an image"
                if strange
                else f"{lacking!r} is not listed"
                if lacking
                else "it lists an image twice"
            )
        remarks.append(f"{table.path} is not taken for the list of cases: {why}; correct it, or write `images.table`")
    return None, remarks


def _landmarks(names: Sequence[str]) -> list[str]:
    if not names:
        return ["# No landmark was found: list the names, like [nasion, sella].", f"landmarks: {PLACEHOLDER}"]
    lines = ["landmarks:", *(f"  - {_text(name)}" for name in names), ""]
    pairs = guess_pairs(names)
    if pairs:
        lines += ["# Left and right, guessed from the names: please check.", "pairs:"]
        lines += [f"  - [{_text(a)}, {_text(b)}]" for a, b in pairs]
    else:
        lines += [
            "# Left and right of each other: none found in the names.",
            "pairs: []",
        ]
    return lines


def _images(images: FoundImages, spacing: Sequence[str], table: FoundTable | None, ndim: int, pages: int) -> list[str]:
    lines = [f"images:                    # {len(images.cases)} found"]
    if images.folder != ".":
        lines.append(f"  folder: {_text(images.folder)}")
    if table is not None:
        lines.append(f"  table: {_text(table.path)}")
        lines += ["  columns:", f"    image: {_text(table.columns['image'])}"]
        steps = [table.columns[s] for s in ("spacing_x", "spacing_y", "spacing_z")[:ndim] if s in table.columns]
        if len(steps) == ndim and any(PLACEHOLDER in line for line in spacing):
            lines.append(f"    spacing: [{', '.join(map(_text, steps))}]")
            spacing = []
    else:
        lines.append(f"  pattern: {json.dumps(images.pattern, ensure_ascii=False)}")
        if images.exclude:
            lines.append(f"  exclude: {json.dumps(list(images.exclude), ensure_ascii=False)}    # label maps, masks")
    if pages:
        lines.append(
            f"  stack: true              # each of the {pages} pages is a case: the landmarks name them by number"
        )
    lines += spacing
    lines += _turned(images)
    if images.label_maps.files:
        lines.append(f"  # {images.label_maps.told()}")
    if images.elsewhere:
        lines.append(f"  # left aside: images in {_others(images)}")
    return lines


def _others(images: FoundImages) -> str:
    """The folders with images that are no cases."""
    return ", ".join(images.elsewhere[:4]) + (" ..." if len(images.elsewhere) > 4 else "")


def _turned(images: FoundImages) -> list[str]:
    """What to know of pictures whose pixels are not stored as people see them."""
    turned: list[str] = []
    for path in images.cases.values():
        try:
            if path.suffix.lower() in PHOTOS and read_header(path).stored != 1:
                turned.append(_text(path.name))
        except AnatomarkError:
            continue
    if not turned:
        return []
    names = ", ".join(turned[:3]) + (", ..." if len(turned) > 3 else "")
    count = f"{len(turned)} of {len(images.cases)} pictures {'is' if len(turned) == 1 else 'are'}"
    return [
        f"  # {count} stored turned ({names}). All are read as viewers show them, and points in pixels",
        "  # refer to that. If yours refer to the pixels as stored, take away the # of the next line.",
        "  # orientation: stored",
    ]


def _subjects_and_splits(images: FoundImages, table: FoundTable | None, seed: int) -> list[str]:
    subjects = list(images.cases)
    if table is not None and "subject" in table.columns:
        rows = zip(*(table.values[table.columns[c]] for c in ("subject", "image")), strict=True)
        subjects = [subject or image_name(image) for subject, image in rows]
        lines = [f"subjects: {{column: {_text(table.columns['subject'])}}}", ""]
    else:
        lines = [
            "# Every image is taken for a different person. If several are of one, state how to recognise it, such as",
            "# subjects: {pattern: '^(p[0-9]+)_'}   # then draw the splits below again, by subject",
            "",
        ]
    if table is not None and "split" in table.columns:
        column = table.columns["split"]
        words = list(dict.fromkeys(word for word in table.values[column] if word))
        named: dict[str, list[str]] = {}
        for word in words:
            named.setdefault(our_split(word) or word, []).append(word)
        if "train" in named:
            mapped = {ours: theirs for ours, theirs in named.items() if theirs != [ours]}
            said = "".join(f", {_text(o)}: {_text_or_list(theirs)}" for o, theirs in mapped.items())
            return [*lines, f"splits: {{column: {_text(column)}{said}}}"]
        lines += [
            f"# The column {column} of {table.path} has no word for training (it has {', '.join(words[:6])}).",
            f"# If it holds splits: {{column: {_text(column)}, train: [...], test: [...]}}, with its words.",
        ]
    folders: dict[str, list[str]] = {}
    for case, path in images.cases.items():
        folders.setdefault(our_split(path.parent.name), []).append(case)
    if table is None and "/" in images.pattern and "train" in folders and len(folders) > 1 and "" not in folders:
        lines += ["# After the folders that the images lie in.", "splits:"]
        for name in ("test", "validation"):
            lines += _listed(name, folders.get(name, []))
        return [*lines, '  train: "*"               # all the rest']
    distinct = list(dict.fromkeys(subjects))
    if len(distinct) < FEWEST_SUBJECTS:
        lines.append(f"# {len(distinct)} subjects are too few to set some aside for a test; all are for training.")
        return [*lines, "splits:", '  train: "*"']
    splits = propose_splits(distinct, FRACTIONS, seed)
    lines += [
        f"# 70 / 15 / 15 % of the {len(distinct)} subjects, drawn at random with seed {seed}.",
        "splits:",
    ]
    for name in ("test", "validation"):
        lines += _listed(name, splits[name])
    return [*lines, '  train: "*"               # all the rest']


def _listed(name: str, subjects: Sequence[str]) -> list[str]:
    """The lines of a split that lists its subjects; none where it has none."""
    listed = textwrap.fill(", ".join(map(_text, subjects)), 100, break_long_words=False, break_on_hyphens=False)
    return [f"  {name}: [", textwrap.indent(listed, "    "), "  ]"] if subjects else []


def _text_or_list(words: Sequence[str]) -> str:
    return _text(words[0]) if len(words) == 1 else f"[{', '.join(map(_text, words))}]"


def _annotations(
    tables: Sequence[FoundTable], exports: Sequence[FoundExport], files: Sequence[FoundFiles]
) -> list[str]:
    if not tables and not exports and not files:
        return [
            "# No landmark file or table was found. For example:",
            "# annotations:",
            "#   - files: landmarks/{case}.mrk.json",
            "annotations: []",
        ]
    lines = ["annotations:"]
    for table in tables:
        lines.append(f"  - table: {_text(table.path)}")
        if "frame" not in table.columns:
            lines += [
                "    # The table does not state its frame: LPS or RAS (mm in the world), or pixel (column, row",
                "    # [, slice], 0-based). Slicer shows RAS; a picture editor gives pixel.",
                f"    frame: {PLACEHOLDER}",
            ]
        own = ("image", "landmark", "x", "y", "z", "observer", "state", "frame")
        columns = {o: table.columns[o] for o in own if o in table.columns and table.columns[o].lower() != o}
        if columns:
            lines.append("    columns: {" + ", ".join(f"{o}: {_text(t)}" for o, t in columns.items()) + "}")
        if len(tables) > 1 and "observer" not in table.columns:
            lines.append(f"    observer: {_text(Path(table.path).stem)}    # guessed from the file's name")
    for export in exports:
        lines.append(f"  - table: {_text(export.path)}    # {export.format.title}")
        if export.frame_asked:
            lines += [
                "    # LPS or RAS (mm in the world), or pixel (column, row[, slice], 0-based)",
                f"    frame: {PLACEHOLDER}",
            ]
        if any(export.images & other.images for other in exports if other is not export):
            lines.append(f"    observer: {_text(Path(export.path).stem)}    # guessed from the file's name")
    for found in files:
        lines.append(f"  - files: {_text(found.pattern)}    # {len(found.files)} files")
        if is_challenge(found.files[0]):
            lines.append("    frame: pixel    # the cephalometric challenge's layout")
        elif frame_asked(found.files[0]):
            lines += [
                "    # LPS or RAS (mm in the world), or pixel (column, row[, slice], 0-based)",
                f"    frame: {PLACEHOLDER}",
            ]
        if len(files) > 1:
            lines.append(f"    observer: {_text(_who(found.pattern, [f.pattern for f in files]))}    # guessed")
    return lines


def _who(pattern: str, patterns: Sequence[str]) -> str:
    """What tells a pattern from the others: the part of its path that they do not share."""
    parts = re.split(r"[/_.\-]|\{case\}", pattern)
    others = {part for other in patterns if other != pattern for part in re.split(r"[/_.\-]|\{case\}", other)}
    own = [part for part in parts if part and part not in others]
    return own[-1] if own else pattern.replace("{case}", "").strip("/_.-")


def _text(value: str) -> str:
    """A YAML scalar that reads as exactly this text."""
    plain = re.fullmatch(r"[A-Za-z_][\w./ +\-]*(?<! )", value) and value.lower() not in (
        "true",
        "false",
        "null",
    )
    return value if plain else json.dumps(value, ensure_ascii=False)
