"""Which image a name in a file means, whoever wrote it: on a Mac, on Windows, in Excel, with or without folders.

The same rules hold wherever a table or a file names an image: for annotations, predictions, reviews and `convert`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anatomark.formats.images import SUFFIXES, image_name
from anatomark.formats.text import composed

_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file


@dataclass(frozen=True)
class Matches:
    """`images` (M,): the number of the image that each name means, -1 for none. `several` are the names that may mean
    more than one, with their numbers. `guesses` are (name, number) found by no more than likeness: other letter case,
    leading zeros lost.
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
        self._alike: dict[str, set[int]] = {}
        self._folders = [tuple(composed(part) for part in path.parts[:-1]) for path in paths]
        for number, (id, path) in enumerate(zip(ids, paths, strict=True)):
            name, bare = composed(path.name), image_name(path)
            self._ids.setdefault(composed(id).strip(), number)  # tables keep no spaces at the ends of a cell
            self._files.setdefault(name.strip(), []).append(number)
            self._stems.setdefault(bare.strip(), []).append(number)
            for alias in (id, name, bare):
                self._alike.setdefault(_alike(alias), set()).add(number)
        self._ids |= {composed(id): number for number, id in enumerate(ids)}

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

    def match(self, names: Sequence[str]) -> Matches:
        """The image that each of `names` means."""
        found = [self.candidates(name) for name in names]
        images = [numbers[0] if len(numbers) == 1 else -1 for numbers in found]
        several = {name: numbers for name, numbers in zip(names, found, strict=True) if len(numbers) > 1}
        taken = set(images)
        likely: dict[int, list[int]] = {}
        for row, (name, numbers) in enumerate(zip(names, found, strict=True)):
            if not numbers and len(like := self._alike.get(_alike(_last(name)), set())) == 1:
                likely.setdefault(next(iter(like)), []).append(row)
        guesses = [(rows[0], number) for number, rows in likely.items() if number not in taken and len(rows) == 1]
        for row, number in guesses:
            images[row] = number
        return Matches(tuple(images), several, tuple((names[row], number) for row, number in guesses))

    def _in_folders(self, numbers: Sequence[int], folders: Sequence[str]) -> tuple[int, ...]:
        """Those of `numbers` whose folders agree best with `folders`, from the file upwards."""
        if len(numbers) < 2:
            return tuple(numbers)
        agreeing = [_common_tail(self._folders[number], folders) for number in numbers]
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


def listed(folder: Path) -> tuple[str, ...]:
    """The names in a folder, sorted; none where it cannot be listed."""
    try:
        return tuple(sorted(path.name for path in folder.iterdir()))
    except OSError:
        return ()


def existing(path: Path, listed: Callable[[Path], tuple[str, ...]] = listed) -> Path:
    """The file or folder at `path`, also where the disk has its name in the other form of Unicode; else `path`."""
    if path.exists() or str(path).isascii():
        return path
    folder = existing(path.parent, listed) if path.parent != path else path
    if (folder / path.name).exists():
        return folder / path.name
    return next((folder / name for name in listed(folder) if composed(name) == composed(path.name)), path)


def file_named(folder: Path, name: str, listed: Callable[[Path], tuple[str, ...]] = listed) -> Path:
    """The file that a table calls `name`, seen from `folder`; `folder / name` where there is none.

    Also with Windows' separators, and in another letter case or without its ending where just one file is so. `listed`
    gives the names in a folder: a caller who asks for many files has it keep them.
    """
    plain = folder / name
    path = existing(plain if plain.exists() else folder / name.replace("\\", "/"), listed)
    if path.exists() or not name:
        return path
    parent, wanted = existing(path.parent, listed), composed(path.name)
    names = [n for n in listed(parent) if not n.startswith(".")]
    for alike in (
        [n for n in names if composed(n).casefold() == wanted.casefold()],
        [n for n in names if stem(n) == wanted and stem(n) != composed(n)],
    ):
        if len(alike) == 1:
            return parent / alike[0]
    return plain


def stem(name: str) -> str:
    """The last part of a name in a file, without the ending of an image."""
    last = _last(composed(name))
    ending = next((s for s in SUFFIXES if last.lower().endswith(s) and len(last) > len(s)), "")
    return last[: len(last) - len(ending)].strip()


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
