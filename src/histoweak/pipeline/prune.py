"""Give back the disk space of what the latest run of a folder has no use for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from histoweak.errors import OutputError
from histoweak.pipeline.faults import explain_faults
from histoweak.pipeline.lock import hold_folder
from histoweak.pipeline.record import RUN_FILE, read_run
from histoweak.pipeline.store import Store


@dataclass(frozen=True)
class Leftover:
    """The folder of a stage of other settings than those of the latest run.

    Args:
        folder: in `stages/` or `work/`.
        bytes: sum of its files.
    """

    folder: Path
    bytes: int


def prune(folder: Path, *, dry_run: bool = False) -> Sequence[Leftover]:
    """Remove stages of settings that were given up, finished or not, from a run folder.

    The stages of the latest run stay, so that its report can be written and the run be resumed.
    What is removed is made anew when its settings come back.

    Args:
        folder: a run folder.
        dry_run: remove nothing, only tell.

    Returns:
        What was, or would be, removed.

    Raises:
        OutputError: no run has been there, one is going on, or a folder cannot be removed.
    """
    folder = folder.absolute()
    _stages_of_latest(folder)  # before the lock, which would make a folder that is missing
    store = Store(folder)
    with hold_folder(folder), explain_faults(folder):
        keep = _stages_of_latest(folder)
        found = [Leftover(path, _size(path)) for path in store.leftovers(keep)]
        if not dry_run:
            for leftover in found:
                store.remove(leftover.folder)
    return found


def _stages_of_latest(folder: Path) -> list[tuple[str, str]]:
    """Name and key of each stage of the latest run."""
    record = read_run(folder / RUN_FILE)
    if record is None:
        raise OutputError(
            f"has no {RUN_FILE}",
            where=folder,
            expected="the folder that was given to `histoweak run` as --out",
            remedy="Give a run folder",
        )
    return [(str(stage["name"]), str(stage["key"])) for stage in record["stages"]]


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
