"""A folder of files that appear whole or not at all: on this machine, or wherever fsspec reaches."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from anatomark.cohort.places import file_system, is_uri, join, local
from anatomark.errors import OutputError
from anatomark.formats.atomic import replacing

# Their objects appear whole; on other file systems a file is written beside its place and moved there.
_WHOLE_OBJECTS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"}
_LEFT_SECONDS = 3600.0


@dataclass(frozen=True)
class Store:
    """Files by name (with folders: parts/000001.parquet) below `root`, a path or a URI.

    Who writes a file last wins; nobody ever sees half of one. Raises OutputError where the system refuses.
    """

    root: str

    @property
    def is_local(self) -> bool:
        return not is_uri(self.root)

    def place(self, name: str) -> str:
        return join(self.root, name)

    def put(self, name: str, content: bytes) -> None:
        """Put a whole file, in place of one of this name."""
        with self.writing(name) as temporary, open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def writing(self, name: str, suffix: str = "") -> Generator[Path]:
        """A path on this machine to write to, whose file, which ends in `suffix`, is then put whole."""
        if self.is_local:
            with replacing(local(self.root) / name, suffix) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="anatomark-") as folder:
            temporary = Path(folder) / f"file{suffix}"
            try:
                yield temporary
                self._send(temporary, name)
            except OSError as error:
                reason = error.strerror or str(error)
                raise OutputError(f"{self.place(name)} cannot be written: {reason}; choose another --out") from error

    def _send(self, file: Path, name: str) -> None:
        fs, path = file_system(self.place(name))
        protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
        if _WHOLE_OBJECTS.intersection(protocols):
            fs.put_file(str(file), path)
            return
        fs.makedirs(fs._parent(path), exist_ok=True)
        beside = f"{path}.{uuid.uuid4().hex}"
        fs.put_file(str(file), beside)
        fs.mv(beside, path)

    def get(self, name: str) -> bytes | None:
        """The content of a file, None where there is none."""
        try:
            if self.is_local:
                return (local(self.root) / name).read_bytes()
            fs, path = file_system(self.place(name))
            fs.invalidate_cache()
            return fs.cat_file(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(f"{self.place(name)} cannot be read: {error.strerror or error}; try again") from error

    def has(self, name: str) -> bool:
        if self.is_local:
            return (local(self.root) / name).exists()
        fs, path = file_system(self.place(name))
        fs.invalidate_cache()
        return fs.exists(path)

    def names(self, folder: str) -> set[str]:
        """The names of the files directly in a folder; none where it is not there."""
        try:
            if self.is_local:
                return set(os.listdir(local(self.root) / folder))
            fs, path = file_system(self.place(folder))
            fs.invalidate_cache()
            return {str(found).rstrip("/").rsplit("/", 1)[-1] for found in fs.ls(path, detail=False)}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def sweep(self, folder: str) -> None:
        """Remove what processes that were killed have left half written in a folder of this machine, an hour after."""
        for path in (local(self.root) / folder).glob(".*") if self.is_local else ():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LEFT_SECONDS:
                    path.unlink()

    def remove(self, name: str) -> None:
        """Remove a file, where it is there."""
        with suppress(FileNotFoundError):
            if self.is_local:
                (local(self.root) / name).unlink()
            else:
                fs, path = file_system(self.place(name))
                fs.rm_file(path)
