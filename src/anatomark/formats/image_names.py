"""Which image a name in a file means, whoever wrote it: on a Mac, on Windows, in Excel, with or without folders.

The same rules hold wherever a table or a file names an image: for annotations, predictions, reviews and `convert`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from anatomark.formats.header import tell
from anatomark.formats.images import SUFFIXES
from anatomark.formats.on_disk import exists, is_file
from anatomark.formats.text import composed

_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file


@dataclass(frozen=True)
class Matches:
    """`images` (M,): the number of the image that each name means, -1 for none. `several` are the names that may mean
    more than one, with their numbers. `guesses` are (name, number) found by no more than likeness: other letter case,
    leading zeros lost, or a folder where another file of that name lies.
    """

    images: tuple[int, ...]
    several: dict[str, tuple[int, ...]]
    guesses: tuple[tuple[str, int], ...] = ()


class ImageNames:
    """Images by what files may call them: the id, the file's name, also with folders before it or without its ending.

    Names are alike in composed and decomposed Unicode. What no rule finds is looked for once more without regard to
    letter case, and as a number that has lost its leading zeros (Excel); such a likeness counts only where it is the
    only one, and where no other name means the image.
    """

    def __init__(self, ids: Sequence[str], paths: Sequence[Path]) -> None:
        self._ids: dict[str, int] = {}
        self._files: dict[str, list[int]] = {}
        self._stems: dict[str, list[int]] = {}
        self._every_id, self._paths = ids, paths
        for number, (id, path) in enumerate(zip(ids, paths, strict=True)):
            name = composed(path.name)
            self._ids.setdefault(composed(id).strip(), number)  # tables keep no spaces at the ends of a cell
            self._files.setdefault(name.strip(), []).append(number)
            self._stems.setdefault(stem(name), []).append(number)
        self._ids |= {composed(id): number for number, id in enumerate(ids)}

    @cached_property
    def _alike(self) -> dict[str, set[int]]:
        """Images by what is left of their names where neither letter case nor leading zeros count."""
        alike: dict[str, set[int]] = {}
        for names in (self._stems, {id: [number] for id, number in self._ids.items()}):
            for name, numbers in names.items():
                alike.setdefault(_alike(name), set()).update(numbers)
        return alike

    def candidates(self, name: str) -> tuple[int, ...]:
        """The numbers of the images that `name` may mean; none, or more than one where folders do not tell."""
        name = composed(name).strip()
        *folders, last = name.replace("\\", "/").split("/")
        bare = stem(last)
        if name in self._ids:
            return (self._ids[name],)
        if last in self._files and len(found := self._in_folders(self._files[last], folders)) == 1:
            return found
        exact = next((self._ids[alias] for alias in (last, bare) if alias in self._ids), None)
        if exact is not None:
            return (exact,)
        numbers = self._files.get(last) or self._stems.get(bare, [])
        if not numbers and (own := _UPLOADED.sub("", last)) != last:
            return self.candidates("/".join([*folders, own]))
        return self._in_folders(numbers, folders)

    def match(self, names: Sequence[str], source: str | Path | None = None) -> Matches:
        """The image that each of `names` means; of names in the file `source`, a remark tells which were guessed."""
        found = [self.candidates(name) for name in names]
        images = [numbers[0] if len(numbers) == 1 else -1 for numbers in found]
        several = {name: numbers for name, numbers in zip(names, found, strict=True) if len(numbers) > 1}
        matched = set(images)
        likely: dict[int, list[int]] = {}
        for row, (name, numbers) in enumerate(zip(names, found, strict=True)):
            if not numbers and len(like := self._alike.get(_alike(_last(name)), set())) == 1:
                likely.setdefault(next(iter(like)), []).append(row)
        guesses = [(rows[0], number) for number, rows in likely.items() if number not in matched and len(rows) == 1]
        for row, number in guesses:
            images[row] = number
        elsewhere = [
            row
            for row, candidates in enumerate(found)
            if len(candidates) == 1 and self._other_file(names[row], candidates[0])
        ]
        guesses += [(row, images[row]) for row in elsewhere]
        matches = Matches(tuple(images), several, tuple((names[row], number) for row, number in guesses))
        if source is not None:
            tell(guess_remark(matches, self._every_id, source))
        return matches

    def _other_file(self, name: str, number: int) -> bool:
        """Whether `name` has folders that are not those of the image, and a file lies there: train/1.png for the
        image test/1.png."""
        *folders, last = composed(name).strip().replace("\\", "/").split("/")
        path = self._paths[number]
        if not folders or composed(name).strip() in self._ids or not all(folders):
            return False
        if _common_tail(map(composed, path.parts[:-1]), folders) == len(folders):
            return False
        return any(is_file(above.joinpath(*folders) / last) for above in list(path.parents)[1:4])

    def _in_folders(self, numbers: Sequence[int], folders: Sequence[str]) -> tuple[int, ...]:
        """Those of `numbers` whose folders agree best with `folders`, from the file upwards."""
        if len(numbers) < 2:
            return tuple(numbers)
        agreeing = [_common_tail(map(composed, self._paths[number].parts[:-1]), folders) for number in numbers]
        return tuple(n for n, common in zip(numbers, agreeing, strict=True) if common == max(agreeing))


def guess_remark(matches: Matches, ids: Sequence[str], source: str | Path) -> list[str]:
    """A line on the images that were found by likeness, or none."""
    if not matches.guesses:
        return []
    shown = ", ".join(f"{name} for {ids[number]}" for name, number in matches.guesses[:3])
    more = f" and {len(matches.guesses) - 3} more" if len(matches.guesses) > 3 else ""
    return [
        f"{source}: images are called otherwise than their files and taken for the only ones alike: {shown}{more}; "
        "if that is wrong, write the files' names"
    ]


@dataclass(frozen=True)
class Listing:
    """The names in a folder by their composed form, without letter case, and without the ending of an image."""

    composed: dict[str, str]
    folded: dict[str, list[str]]
    bare: dict[str, list[str]]


def listing(folder: Path) -> Listing:
    """The Listing of a folder, without hidden files; an empty one where it cannot be listed."""
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        names = []
    found = Listing({}, {}, {})
    for name in names:
        whole = composed(name)
        found.composed.setdefault(whole, name)
        found.folded.setdefault(whole.casefold(), []).append(name)
        if (bare := stem(name)) != whole:
            found.bare.setdefault(bare, []).append(name)
    return found


def existing(path: Path, listing: Callable[[Path], Listing] = listing) -> Path:
    """The file or folder at `path`, also where the disk has its name in the other form of Unicode; else `path`."""
    if exists(path) or str(path).isascii():
        return path
    folder = existing(path.parent, listing) if path.parent != path else path
    if exists(folder / path.name):
        return folder / path.name
    name = listing(folder).composed.get(composed(path.name))
    return path if name is None else folder / name


def file_named(folder: Path, name: str, listing: Callable[[Path], Listing] = listing) -> Path:
    """The file that a table calls `name`, seen from `folder`; `folder / name` where there is none.

    Also with Windows' separators, and in another letter case or without its ending where just one file is so. `listing`
    lists a folder: a caller who asks for many files has it keep what it found.
    """
    plain = folder / name
    if not name:
        return plain
    whole = composed(name)
    if "/" not in name and (found := listing(folder).composed.get(whole)) is not None:
        return folder / found
    *folders, last = whole.replace("\\", "/").rsplit("/", 1)
    parent = existing(folder / folders[0], listing) if folders else folder
    inside = listing(parent)
    if last in inside.composed:
        return parent / inside.composed[last]
    for alike in (inside.folded.get(last.casefold(), []), inside.bare.get(last, [])):
        if len(alike) == 1:
            return parent / alike[0]
    return plain


def stem(name: str) -> str:
    """The last part of a name in a file, without the ending of an image."""
    last = _last(composed(name))
    low = last.lower()
    if low.endswith(SUFFIXES):
        ending = next(s for s in SUFFIXES if low.endswith(s))
        if len(ending) < len(last):
            last = last[: -len(ending)]
    return last.strip()


def _last(name: str) -> str:
    return name.replace("\\", "/").split("/")[-1]


def _alike(name: str) -> str:
    """A name without letter case, image ending, and the leading zeros of its numbers."""
    alike = stem(name).casefold()
    return alike.lstrip("0") or "0" if alike.isdecimal() else alike


def _common_tail(own: Iterable[str], other: Iterable[str]) -> int:
    count = 0
    for a, b in zip(reversed(tuple(own)), reversed(tuple(other)), strict=False):
        if a != b:
            break
        count += 1
    return count
