"""A stage: one named step of a method that writes one artefact."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from histoweak.progress import Progress

if TYPE_CHECKING:
    from histoweak.data.manifest import Manifest

SCRATCH = "_scratch"


def _log_nothing(**values: Any) -> None:
    """Stand-in where no run keeps the figures."""


@dataclass(frozen=True)
class StageContext:
    """What the function of a stage works with.

    Args:
        out: folder that becomes the artefact. It outlives a killed attempt: what the attempt wrote
            is still there when the function is called again, so write every file atomically
            (`histoweak.atomic`) and take up the work from what is found.
        inputs: finished artefact folder of each stage named in `Stage.inputs`; read only.
        seed: the one seed of the run.
        manifest: the data set.
        progress: where to show progress.
        log: `log(step=..., loss=...)` appends named figures to `metrics.jsonl`; figures logged
            again for the same `step` replace the earlier ones when read.
        device: where to compute, as torch names it; not part of the key.
        workers: processes that load data; must not change the result.
    """

    out: Path
    inputs: Mapping[str, Path]
    seed: int
    manifest: "Manifest"
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    log: Callable[..., None] = _log_nothing
    device: str = "cpu"
    workers: int = 0

    @property
    def scratch(self) -> Path:
        """Folder for checkpoints: outlives a killed attempt, and goes when the stage is done."""
        folder = self.out / SCRATCH
        folder.mkdir(exist_ok=True)
        return folder


@dataclass(frozen=True)
class Stage:
    """One step of a method.

    Args:
        name: short name in lower case, unique within a method, e.g. `"classifier"`. Stages of two
            methods share an artefact when their names and all else in their keys are equal.
        config: the settings that decide the result. Fields made with
            `Field(json_schema_extra={"affects_result": False})` are left out of the key.
        inputs: names of the earlier stages whose artefacts are read.
        run: the work; called with a `StageContext`, returns when the artefact is complete.
        uses_data: whether the result depends on the manifest beyond what the inputs carry.
        version: to be raised when a change of code changes the result.
        distributed: whether all processes of a multi-process run call `run`, or only the first.
        files: files outside the data set that decide the result, such as starting weights; their
            content is part of the key.
        check: what the stage asks of the data set; called with the manifest before the first
            stage of a run begins, it raises if that is missing.

    Raises:
        ValueError: the name is not fit for a folder.
    """

    name: str
    config: BaseModel
    inputs: tuple[str, ...]
    run: Callable[[StageContext], None]
    uses_data: bool = True
    version: int = 1
    distributed: bool = False
    files: tuple[Path, ...] = ()
    check: Callable[["Manifest"], None] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+([_-][a-z0-9]+)*", self.name):
            raise ValueError(
                f"stage name {self.name!r}: expected lower case such as 'pseudo-masks'"
            )


def check_order(stages: Sequence[Stage]) -> None:
    """Check that names are unique and that inputs come before the stages that read them.

    Raises:
        ValueError: they do not.
    """
    known: set[str] = set()
    for stage in stages:
        if stage.name in known:
            raise ValueError(f"two stages are named {stage.name!r}")
        for name in stage.inputs:
            if name not in known:
                raise ValueError(f"stage {stage.name!r} reads {name!r}, which is no earlier stage")
        known.add(stage.name)
