"""Several processes of one run: the first leads, the others wait for what it commits."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from histoweak.errors import TrainingError
from histoweak.pipeline.lock import LOCK, is_locked
from histoweak.pipeline.record import RUN_FILE, read_run
from histoweak.pipeline.stage import Stage, StageContext
from histoweak.pipeline.store import Store

POLL_SECONDS = 0.2


def is_leader() -> bool:
    """Whether this process is the first of its run.

    Lightning and torchrun start one process per device and number them in `RANK`, `NODE_RANK`
    and `LOCAL_RANK`, Slurm's `srun` in `SLURM_PROCID`; a process without numbers is alone.
    """
    names = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0").strip() in {"", "0"} for name in names)


def follow(
    folder: Path,
    context: StageContext,
    stages: Sequence[Stage],
    keys: Mapping[str, str],
    grace: float,
) -> dict[str, Path]:
    """Take part in the distributed stages only, and wait for what the leader commits.

    Args:
        folder: the run folder, absolute.
        context: what the contexts of all stages have in common.
        stages: the stages of the run.
        keys: key of each stage by name.
        grace: seconds to wait for a leader to show up.

    Returns:
        Folder of the finished artefact of each stage, by name.

    Raises:
        TrainingError: the leader has ended before the last stage was finished.
        OutputError: a finished artefact was changed.
    """
    leader = _Watch(folder, grace)
    done: dict[str, Path] = {}
    for stage in stages:
        key = keys[stage.name]
        if stage.distributed and leader.wait_for_start(stage.name, key) is None:
            work = Store(folder).work_folder(stage.name, key)
            inputs = {name: done[name] for name in stage.inputs}
            stage.run(replace(context, out=work, inputs=inputs))
        done[stage.name] = leader.wait_for_commit(stage.name, key)
    return done


class _Watch:
    """Looks from outside at what the leader does.

    Args:
        folder: the run folder, absolute.
        grace: seconds to wait for a leader to show up.
    """

    def __init__(self, folder: Path, grace: float) -> None:
        self._folder, self._store = folder, Store(folder)
        self._deadline = time.monotonic() + grace
        self._seen = False

    def wait_for_start(self, name: str, key: str) -> Path | None:
        """Wait until the leader has begun a stage or finished it.

        Returns:
            The finished artefact, or None where the stage's function is to be joined.

        Raises:
            TrainingError: the leader has ended.
        """
        while True:
            found = self._look(name, key)
            working = self._store.work_folder(name, key).is_dir()
            # A sealed folder of a killed attempt is only committed; nobody calls the function.
            joinable = self._seen and working and not self._store.is_sealed(name, key)
            if found is not None or joinable:
                return found
            time.sleep(POLL_SECONDS)

    def wait_for_commit(self, name: str, key: str) -> Path:
        """Wait until the leader has finished a stage and return its artefact.

        Raises:
            TrainingError: the leader has ended.
        """
        while True:
            found = self._look(name, key)
            if found is not None:
                return found
            time.sleep(POLL_SECONDS)

    def _look(self, name: str, key: str) -> Path | None:
        """The finished artefact, or None while a leader lives that may still make it."""
        # Asked before looking for the artefact: a leader may commit, then end, in between.
        leads = is_locked(self._folder / LOCK)
        self._seen = self._seen or leads
        found = self._store.finished(name, key)
        if found is None and not leads and (self._seen or time.monotonic() > self._deadline):
            raise self._orphaned(name)
        return found

    def _orphaned(self, name: str) -> TrainingError:
        path = self._folder / RUN_FILE
        reason = (read_run(path) or {}).get("reason")
        return TrainingError(
            f"the first process ended before stage {name!r} was finished"
            + (f": {reason}" if reason else ""),
            where=path,
            remedy="See the message of the first process, then run the same command again",
        )
