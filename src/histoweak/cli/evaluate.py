"""`histoweak evaluate`: score a model, masks that lie in a folder, or a run's pseudo-masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histoweak.cli.audit import audit
from histoweak.cli.predict import BATCH, CLASSIFIER, DEVICE, REFINE, SCALES, TILE, TTA

if TYPE_CHECKING:
    from rich.console import Group

    from histoweak.data.manifest import Manifest, Record
    from histoweak.inference.evaluate import Evaluation


def evaluate(
    data: Annotated[Path, typer.Option(help="Manifest with masks, .csv or .parquet.")],
    model: Annotated[
        Path | None, typer.Argument(help="Run folder, or folder of a saved model.")
    ] = None,
    pred: Annotated[
        Path | None, typer.Option(help="In place of a model: folder of index PNGs, by image name.")
    ] = None,
    pseudo_masks: Annotated[
        Path | None,
        typer.Option(help="In place of a model: run whose training masks are compared with true."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "test",
    tta: Annotated[str, TTA] = "none",
    tile: Annotated[int, TILE] = 1024,
    batch: Annotated[int, BATCH] = 2,
    scales: Annotated[str, SCALES] = "1",
    refine: Annotated[list[str] | None, REFINE] = None,
    gate: Annotated[str, typer.Option(help="none, predicted or truth.")] = "none",
    classifier: Annotated[Path | None, CLASSIFIER] = None,
    gate_threshold: Annotated[
        float, typer.Option(help="Probability above which a class counts as found.")
    ] = 0.1,
    max_skipped: Annotated[
        float, typer.Option(min=0, max=1, help="Share of images that may be unusable.")
    ] = 0.05,
    json_: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
    device: Annotated[str, DEVICE] = "auto",
) -> None:
    """Score pixels on one split, all images in one confusion matrix, each at its own size.

    Pixels whose truth is 255 are not scored; pixels left without a class are misses. With
    --pseudo-masks, what a segmenter was trained on is compared with the masks of the train rows,
    which the run itself never saw. Exit code: 0, or 5 when more images than --max-skipped cannot
    be used; others as for every command.
    """
    from rich.console import Console

    from histoweak.cli.models import parse_refiners, parse_scales
    from histoweak.cli.tables import write_json
    from histoweak.data.manifest import Manifest
    from histoweak.errors import ConfigError
    from histoweak.inference.evaluate import evaluate_masks, require_masks
    from histoweak.progress import Progress

    given = [thing for thing in (model, pred, pseudo_masks) if thing is not None]
    if len(given) != 1:
        raise ConfigError(
            "two things to score" if given else "nothing to score",
            expected="a model, --pred DIR or --pseudo-masks RUN",
            remedy="Give one of them",
        )
    manifest = Manifest.read(data)
    if pseudo_masks is not None:
        audit(pseudo_masks, manifest, json_)
        return
    records = _rows(manifest, split)
    require_masks(records, data)
    protocol: dict[str, Any] = {"split": split}
    with Progress() as progress:
        if pred is not None:
            protocol |= _known_settings(pred)
            result = evaluate_masks(
                pred, records, len(manifest.classes), progress=progress, max_skipped=max_skipped
            )
        elif model is not None:
            options = {"tta": tta, "tile": tile, "batch": batch}
            options |= {"scales": parse_scales(scales), "refine": parse_refiners(refine)}
            gating = (gate, classifier, gate_threshold)
            result, used = _score_model(
                model, manifest, records, options, gating, device, max_skipped, progress
            )
            protocol |= used
    figures = _figures(result, protocol, str(pred or model), manifest)
    Console().print(score_table(figures))
    for path, reason in result.skipped:
        typer.echo(f"skipped: {str(path)!r}: {reason}", err=True)
    if json_ is not None:
        write_json(json_, figures)


def _rows(manifest: "Manifest", split: str) -> "tuple[Record, ...]":
    from histoweak.data.manifest import SPLITS
    from histoweak.errors import ConfigError

    if split == "all":
        return manifest.records
    if split not in SPLITS:
        raise ConfigError(
            f"{split!r}", where="--split", expected=f"{', '.join(SPLITS)} or all",
            remedy="Choose one of them",
        )  # fmt: skip
    return manifest.split(split)


def _score_model(
    path: Path,
    manifest: "Manifest",
    records: "tuple[Record, ...]",
    options: dict[str, Any],
    gating: tuple[str, Path | None, float],
    device: str,
    max_skipped: float,
    progress: Any,
) -> "tuple[Evaluation, dict[str, Any]]":
    from histoweak.cli.models import gate_rule, inference_config, open_model
    from histoweak.errors import ManifestError
    from histoweak.inference.config import views
    from histoweak.inference.evaluate import evaluate_model

    config = inference_config(**options)
    rule = gate_rule(*gating, device, allowed=("none", "predicted", "truth"))
    model = open_model(path, device)
    if model.classes.names != manifest.classes.names:
        raise ManifestError(
            f"has the classes {list(manifest.classes.names)}",
            where=manifest.path,
            expected=f"{list(model.classes.names)}, as the model, in this order",
            remedy="Bring classes.json and the masks to the order of the model",
        )
    result = evaluate_model(
        model, records, config=config, gate=rule, progress=progress, max_skipped=max_skipped
    )
    seen = views(config.tta, config.scales, [one.kind for one in config.refine])
    return result, {"gate": str(rule), "tta": seen, **_origin(model.provenance)}


def _origin(provenance: Any) -> dict[str, Any]:
    """Checkpoint selection and seed, as far as the model says."""
    known = provenance if isinstance(provenance, dict) else {}
    return {"selection": known.get("select"), "seed": known.get("seed")}


def _known_settings(folder: Path) -> dict[str, Any]:
    """How masks came about, if `histoweak predict` left its settings beside them."""
    import json

    from histoweak.inference.config import views

    try:
        settings = json.loads((folder / "predict.json").read_text(encoding="utf-8"))
        origin = _origin(settings["model"]["provenance"])
        refiners = [one["kind"] for one in settings.get("refine") or ()]
        seen = views(settings["tta"], settings["scales"], refiners)
        return {"gate": settings["gate"], "tta": seen, **origin}
    except (OSError, ValueError, LookupError, TypeError):
        return {"gate": None, "tta": None, "selection": None, "seed": None}


def _figures(
    result: "Evaluation", protocol: dict[str, Any], name: str, manifest: "Manifest"
) -> dict[str, Any]:
    counted = {"images": result.images, "skipped": len(result.skipped)}
    rung = {"name": name, **result.figures(manifest.classes.names)}
    return {**protocol, **counted, "ladder": [rung]}


def score_table(figures: dict[str, Any]) -> "Group":
    """Lay out one evaluation; the title says how its figures came about."""
    from rich.markup import escape
    from rich.table import Table

    from histoweak.cli.tables import cell, images_scored, protocol_line, titled

    table = Table()
    for column in ("class", "IoU", "Dice", "recall", "precision"):
        table.add_column(column, justify="left" if column == "class" else "right")
    rung = figures["ladder"][0]
    for name, scores in rung["classes"].items():
        cells = (scores[key] for key in ("iou", "dice", "recall", "precision"))
        table.add_row(escape(name), *map(cell, cells))
    table.add_section()
    means = (cell(rung[key]) for key in ("miou_present", "mean_dice", "mean_recall"))
    table.add_row("mean", *means)
    table.add_row("mean, absent class as 0", cell(rung["miou_zero"]))
    table.add_row("frequency-weighted IoU", cell(rung["fwiou"]))
    table.add_row("pixel accuracy", cell(rung["pixel_accuracy"]))
    said = f"{protocol_line(figures)}; {images_scored(figures)}, one confusion matrix"
    return titled(said, table)
