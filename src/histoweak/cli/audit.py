"""`histoweak evaluate --pseudo-masks`: how good were the masks that a segmenter learned from?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histoweak.data.manifest import Manifest
    from histoweak.report.scored import ScoredRun

STAGES = ("pseudo-masks", "teacher-masks")


def audit(run: Path, manifest: "Manifest", json_: Path | None) -> None:
    """Print how good the training masks of a run were, one table for each round of training.

    Raises:
        OutputError: the run has none.
        ManifestError: the manifest is not that of the run, or lacks masks on train rows.
    """
    from rich.console import Console

    from histoweak.cli.tables import mask_table, write_json
    from histoweak.errors import OutputError
    from histoweak.progress import Progress
    from histoweak.report.scored import read_scored
    from histoweak.stages.audit import audit_masks, frames_config

    scored = read_scored(run)
    masks = {name: scored.stage(name) for name in STAGES}
    frames = scored.stage("frames")
    if frames is None or not any(masks.values()):
        raise OutputError(
            "has no pseudo-masks",
            where=run,
            expected="a run of a weakly supervised method",
            remedy="Give another run with --pseudo-masks",
        )
    config = frames_config(scored.record)
    with Progress() as progress:
        found = {
            name: {
                "artefact": folder.name,
                **_protocol(name, scored),
                **audit_masks(frames, folder, config, manifest, progress),
            }
            for name, folder in masks.items()
            if folder is not None
        }
    for name, figures in found.items():
        Console().print(mask_table(name, figures, figures))
    if json_ is not None:
        write_json(json_, found)


def _protocol(name: str, scored: "ScoredRun") -> dict[str, Any]:
    """How the masks came about; the patch labels decided which classes they may hold."""
    config = scored.record.get("config") or {}
    parts = {
        "pseudo-masks": config.get("scores"),
        "teacher-masks": (config.get("self_training") or {}).get("teacher"),
    }
    origin = {key: scored.figures[key] for key in ("selection", "seed")}
    return {"gate": "truth", "tta": (parts[name] or {}).get("tta"), "split": "train", **origin}
