"""The process that writes in the run folder: it executes, commits and records."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from histoweak.pipeline.faults import explain_faults
from histoweak.pipeline.keys import SHORT_KEY
from histoweak.pipeline.metrics_log import MetricsLog
from histoweak.pipeline.record import RunRecord, describe_environment, now
from histoweak.pipeline.stage import Stage, StageContext
from histoweak.pipeline.store import Store
from histoweak.pipeline.tensorboard import TensorBoardLog

METRICS_FILE, TENSORBOARD_FOLDER = "metrics.jsonl", "tensorboard"


@dataclass(frozen=True)
class Leader:
    """Executes stages in a folder whose lock it holds.

    Args:
        folder: the run folder, absolute.
        context: what the contexts of all stages have in common.
        keys: key of each stage by name.
        record: the `run.json` to keep true.
        tensorboard: whether figures also go to TensorBoard.
    """

    folder: Path
    context: StageContext
    keys: Mapping[str, str]
    record: RunRecord
    tensorboard: bool

    def execute(self, stages: Sequence[Stage]) -> dict[str, Path]:
        """Bring the stages to their end and return their artefacts by name.

        Raises:
            OutputError: the folder holds a run on other data, cannot be written, the disk is
                full, or a finished artefact was changed.
        """
        done: dict[str, Path] = {}
        with explain_faults(self.folder):
            self.record.begin()
        for number, stage in enumerate(stages, 1):
            place = f"[{number}/{len(stages)}] {stage.name}"
            try:
                with explain_faults(self.folder):
                    done[stage.name] = self._finish(stage, done, place)
            except BaseException as error:
                with suppress(OSError):  # the disk may be full; the first error matters
                    self.record.fail(stage.name, _reason(error))
                raise
        with explain_faults(self.folder):
            self.record.end("done")
        return done

    def _finish(self, stage: Stage, done: Mapping[str, Path], place: str) -> Path:
        """Bring one stage to its end, unless it is there, and return its artefact."""
        store, key = Store(self.folder), self.keys[stage.name]
        found = store.finished(stage.name, key)
        if found is not None:
            self.context.progress.say(f"{place}: finished before")
        else:
            work = store.work_folder(stage.name, key)
            self.context.progress.say(f"{place}: {'goes on' if work.exists() else 'begins'}")
            self.record.mark(stage.name, "running")
            if not store.is_sealed(stage.name, key):
                details = self._work(stage, work, done)
                store.seal(stage.name, key, details)
            found = store.commit(stage.name, key)
        self.record.mark(stage.name, "done", folder=f"{found.parent.name}/{found.name}")
        return found

    def _work(self, stage: Stage, work: Path, done: Mapping[str, Path]) -> dict[str, Any]:
        """Call the stage's function in its working folder; returns what `stage.json` tells."""
        work.mkdir(parents=True, exist_ok=True)
        inputs = {name: done[name] for name in stage.inputs}
        started, began = now(), time.monotonic()
        with self._figures(stage.name) as log:
            stage.run(replace(self.context, out=work, inputs=inputs, log=log))
        return {
            "version": stage.version,
            "config": stage.config.model_dump(mode="json"),
            "inputs": {name: self.keys[name] for name in stage.inputs},
            "seed": self.context.seed,
            "device": self.context.device,
            "started": started,  # of the attempt that ended the stage
            "finished": now(),
            "seconds": round(time.monotonic() - began, 3),
            **describe_environment(),
        }

    @contextmanager
    def _figures(self, name: str) -> Iterator[Callable[..., None]]:
        """What a stage logs figures with."""
        key = self.keys[name]
        lines = MetricsLog(self.folder / METRICS_FILE, name, key)
        if not self.tensorboard:
            yield lines
            return
        board = TensorBoardLog(self.folder / TENSORBOARD_FOLDER / f"{name}-{key[:SHORT_KEY]}")

        def log(**values: Any) -> None:
            lines(**values)
            board(**values)

        try:
            yield log
        finally:
            board.close()


def _reason(error: BaseException) -> str:
    """One line for `run.json`."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
