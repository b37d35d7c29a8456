"""The artefacts of a run on disk: a stage is finished when its folder has been renamed."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from histoweak.atomic import (
    atomic_write_text,
    remove_temporaries,
    sync_file,
    sync_folder,
)
from histoweak.errors import OutputError
from histoweak.pipeline.keys import SHORT_KEY
from histoweak.pipeline.stage import SCRATCH

RECORD = "stage.json"


class Store:
    """`stages/` holds finished artefacts, `work/` those in progress, below one run folder.

    An artefact goes through three steps, and a kill between any two of them loses nothing:

    1. The stage writes into `work/<name>-<key>/`.
    2. `seal` forces all files onto the disk and then writes `stage.json`: the stage's function
       has returned and need not run again.
    3. `commit` drops the scratch files and renames the folder to `stages/<name>-<key>/`.

    Args:
        folder: the run folder, absolute.
    """

    def __init__(self, folder: Path) -> None:
        self.stages, self.work = folder / "stages", folder / "work"

    def work_folder(self, name: str, key: str) -> Path:
        """Where the stage works; may not exist yet."""
        return self.work / _folder_name(name, key)

    def finished(self, name: str, key: str) -> Path | None:
        """Folder of the finished artefact, or None.

        Raises:
            OutputError: the folder is there but files are missing or of another size.
        """
        folder = self.stages / _folder_name(name, key)
        if not folder.exists():
            return None
        record = _read_record(folder)
        if record.get("key") != key:
            raise _damaged(folder, f"{RECORD} is missing or of another stage")
        for entry in record["files"]:
            path = folder / entry["path"]
            if not path.is_file() or path.stat().st_size != entry["bytes"]:
                raise _damaged(folder, f"{entry['path']} is missing or was changed")
        return folder

    def is_sealed(self, name: str, key: str) -> bool:
        """Whether the stage's function has returned, in this attempt or an earlier one."""
        return _read_record(self.work_folder(name, key)).get("key") == key

    def seal(self, name: str, key: str, details: dict[str, Any]) -> None:
        """Record that the work folder is complete.

        Args:
            name: name of the stage.
            key: its key.
            details: what else `stage.json` is to tell.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        folder = self.work_folder(name, key)
        remove_temporaries(folder)
        files = list(_list_files(folder))
        for parent in {(folder / entry["path"]).parent for entry in files}:
            sync_folder(parent)
        record = {"name": name, "key": key, **details, "files": files}
        atomic_write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")

    def commit(self, name: str, key: str) -> Path:
        """Make a sealed work folder the finished artefact and return its folder.

        Raises:
            OSError: the folder cannot be written.
        """
        source = self.work_folder(name, key)
        target = self.stages / source.name
        if (source / SCRATCH).exists():
            shutil.rmtree(source / SCRATCH)
        self.stages.mkdir(exist_ok=True)
        source.replace(target)
        sync_folder(self.stages)
        sync_folder(self.work)
        return target

    def leftovers(self, keep: Collection[tuple[str, str]]) -> list[Path]:
        """Folders, finished or not, of other stages than the (name, key) pairs in `keep`."""
        kept = {_folder_name(name, key) for name, key in keep}
        found = [path for part in (self.stages, self.work) for path in sorted(part.glob("*"))]
        return [p for p in found if p.is_dir() and not p.is_symlink() and p.name not in kept]

    def remove(self, folder: Path) -> None:
        """Remove a folder of this store.

        Raises:
            OSError: it cannot be removed.
        """
        self.work.mkdir(exist_ok=True)
        # Moved out of sight first: killed halfway, it must not be taken for an artefact.
        grave = Path(tempfile.mkdtemp(dir=self.work, suffix=".removed"))
        folder.replace(grave / folder.name)
        shutil.rmtree(grave)


def _folder_name(name: str, key: str) -> str:
    return f"{name}-{key[:SHORT_KEY]}"


def _list_files(folder: Path) -> Iterator[dict[str, Any]]:
    """Path, size and SHA-256 of each file of the artefact, which is synced on the way."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or relative.parts[0] in {SCRATCH, RECORD}:
            continue
        sync_file(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        yield {"path": relative.as_posix(), "bytes": path.stat().st_size, "sha256": digest}


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _damaged(folder: Path, problem: str) -> OutputError:
    return OutputError(
        problem,
        where=folder,
        expected="the files as the stage wrote them",
        remedy="Delete this folder and run the same command again: the stage is made anew",
    )
