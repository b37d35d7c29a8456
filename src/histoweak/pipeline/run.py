"""Run: execute the stages of a method in one folder, and take up what is already there."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from histoweak.pipeline.follow import follow, is_leader
from histoweak.pipeline.keys import stage_keys
from histoweak.pipeline.lead import Leader
from histoweak.pipeline.lock import LOCK, hold_folder, is_locked
from histoweak.pipeline.record import RUN_FILE, RunRecord, describe_environment, read_run
from histoweak.pipeline.stage import Stage, StageContext, check_order
from histoweak.pipeline.tensorboard import require_tensorboard
from histoweak.progress import Progress

if TYPE_CHECKING:
    from histoweak.data.manifest import Manifest


@dataclass(frozen=True)
class Run:
    """The stages of one method in one output folder.

    Executing it again resumes: finished stages are not run again, and the stage that was cut
    short finds its own files in its working folder.

    Args:
        folder: output folder, created when missing.
        manifest: the data set; of it, only `digest()` and `path` are used here.
        seed: the one seed that decides everything.
        method: name of the method, for `run.json`.
        recipe: name of the recipe, for `run.json`.
        config: the whole configuration, for `run.json`.
        device: where the stages compute, as torch names it.
        workers: processes that load data.
        progress: where to show progress; by default a `Progress` of its own.
        tensorboard: whether figures also go to `tensorboard/` in the folder.
        grace: seconds that the other processes of a multi-process run wait for the first one.
    """

    folder: Path
    manifest: "Manifest"
    seed: int = 0
    _: KW_ONLY
    method: str = ""
    recipe: str = ""
    config: BaseModel | None = None
    device: str = "cpu"
    workers: int = 0
    progress: Progress | None = None
    tensorboard: bool = False
    grace: float = 300.0

    def execute(self, stages: Sequence[Stage]) -> dict[str, Path]:
        """Bring all stages to their end.

        Returns:
            Folder of the finished artefact of each stage, by name.

        Raises:
            ValueError: two stages of one name, or an input that is no earlier stage.
            ConfigError: TensorBoard is wanted but not installed.
            OutputError: the folder holds a run on other data, is in use, cannot be written, the
                disk is full, or a finished artefact was changed.
            TrainingError: in a process that is not the first: the first one has ended.
            HistoweakError: whatever the checks and the work of the stages raise.
        """
        check_order(stages)
        if self.tensorboard:
            require_tensorboard()
        if not is_leader():
            keys = stage_keys(stages, self.seed, self.manifest.digest())
            context = self._context(Progress(quiet=True))
            return follow(self._absolute, context, stages, keys, self.grace)
        with ExitStack() as stack:
            progress = self.progress or stack.enter_context(Progress())
            for stage in stages:
                if stage.check is not None:
                    stage.check(self.manifest)
            stack.enter_context(hold_folder(self._absolute))
            digest = self.manifest.digest()
            keys = stage_keys(stages, self.seed, digest)
            record = RunRecord(self._absolute, self._head(digest), keys)
            context = self._context(progress)
            leader = Leader(self._absolute, context, keys, record, self.tensorboard)
            return leader.execute(stages)

    def status(self) -> dict[str, str]:
        """Status of each stage of the latest run in the folder, by name.

        One of `pending`, `running`, `done`, `failed` and `interrupted` (by a kill). Empty where
        no run has been.

        Raises:
            OutputError: `run.json` is not one that histoweak wrote.
        """
        content = read_run(self.folder / RUN_FILE) or {"stages": []}
        alive = is_locked(self.folder / LOCK)
        found = {str(entry["name"]): str(entry["status"]) for entry in content["stages"]}
        return {
            name: "interrupted" if status == "running" and not alive else status
            for name, status in found.items()
        }

    @property
    def _absolute(self) -> Path:
        return self.folder.absolute()

    def _context(self, progress: Progress) -> StageContext:
        """What the contexts of all stages have in common."""
        return StageContext(
            out=self._absolute,
            inputs={},
            seed=self.seed,
            manifest=self.manifest,
            progress=progress,
            device=self.device,
            workers=self.workers,
        )

    def _head(self, digest: str) -> dict[str, Any]:
        """What `run.json` tells of the run as a whole."""
        path = self.manifest.path
        return {
            "method": self.method,
            "recipe": self.recipe,
            "config": None if self.config is None else self.config.model_dump(mode="json"),
            "seed": self.seed,
            "device": self.device,
            "data": {"path": None if path is None else str(path), "digest": digest},
            **describe_environment(),
        }
