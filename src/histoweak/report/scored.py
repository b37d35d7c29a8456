"""The figures of a finished run, and whether those of two runs may be compared."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoweak.classes import ClassSet
from histoweak.errors import ManifestError, OutputError
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.groups import Grouped, confusions_from_dict, paired


@dataclass(frozen=True)
class ScoredRun:
    """A finished run.

    Args:
        run: its folder.
        record: content of `run.json`.
        folder: artefact of its evaluation.
        figures: content of `evaluation.json`.
    """

    run: Path
    record: dict[str, Any]
    folder: Path
    figures: dict[str, Any]

    @property
    def classes(self) -> ClassSet:
        """The classes that were scored."""
        return ClassSet.from_dict(self.figures["classes"])

    @property
    def last(self) -> dict[str, Any]:
        """The last rung of the ladder: what the method is about."""
        rung: dict[str, Any] = self.figures["ladder"][-1]
        return rung

    @property
    def patients(self) -> Grouped[ConfusionMatrix]:
        """Confusion matrices of the last rung."""
        return confusions_from_dict(self.last["patients"])

    def stage(self, name: str) -> Path | None:
        """Artefact of a stage, None where the run has none of that name."""
        for stage in self.record["stages"]:
            if stage["name"] == name and stage.get("folder"):
                return self.run / str(stage["folder"])
        return None


def read_scored(run: Path) -> ScoredRun:
    """Read the figures of a finished run.

    Raises:
        OutputError: the folder holds no finished evaluation.
    """
    record = read_json(run / "run.json")
    try:
        folders = {stage["name"]: stage.get("folder") for stage in record["stages"]}
        folder = run / (folders.get("evaluation") or "")
        figures = read_json(folder / "evaluation.json")
        scored = ScoredRun(run, record, folder, figures)
        for key in ("split", "gate", "tta", "selection", "seed", "images"):
            figures[key]
        len(scored.classes), scored.patients
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise _unfinished(run / "run.json", f"{type(error).__name__}: {error}") from error
    return scored


def require_comparable(a: ScoredRun, b: ScoredRun) -> None:
    """Refuse runs that were not scored on the same pixels.

    Raises:
        ManifestError: classes, split or images differ.
    """
    differences = [
        f"{what} {left} and {right}"
        for what, left, right in (
            ("classes", list(a.classes.names), list(b.classes.names)),
            ("split", a.figures["split"], b.figures["split"]),
            ("images", a.figures["images"], b.figures["images"]),
        )
        if left != right
    ]
    digests = {run.figures.get("truth_digest") for run in (a, b)} - {None}
    if not differences and len(digests) > 1:
        differences = ["other images or other masks"]
    if not differences:
        try:
            paired(a.patients, b.patients)
        except ValueError as error:
            differences = [str(error)]
    if differences:
        raise ManifestError(
            f"{a.run} and {b.run} were not scored on the same data: {'; '.join(differences)}",
            expected="the same classes, split, images and masks",
            remedy="Run both methods on one manifest; skipped images must be the same, too",
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read an object that histoweak wrote.

    Raises:
        OutputError: the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unfinished(path, str(error)) from error
    if not isinstance(content, dict):
        raise _unfinished(path, "holds no JSON object")
    return content


def _unfinished(path: Path, reason: str) -> OutputError:
    return OutputError(
        f"no finished run ({reason})",
        where=path,
        expected="the folder of a run that was evaluated",
        remedy="Run `histoweak run` to its end first",
    )
