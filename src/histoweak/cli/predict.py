"""`histoweak predict`: label images with a trained model."""

from pathlib import Path
from typing import Annotated

import typer

TTA = typer.Option(help="Average over orientations: none, flips (4) or d4 (8).")
TILE = typer.Option(help="Side of the tiles in pixels at the scale of the model.")
BATCH = typer.Option(help="Tiles computed at once.")
SCALES = typer.Option(help="Magnifications to average over, e.g. 1,1.5,2.")
REFINE = typer.Option(
    help="Refiner of the scores: crf, crf:irn, walk, superpixels:8, white, sam:FOLDER or its "
    "settings as YAML; give it again for another one after it."
)
DEVICE = typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")
CLASSIFIER = typer.Option(help="Classifier's model folder, for --gate predicted.")


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder, or folder of a saved model.")],
    images: Annotated[list[str], typer.Argument(help="Images, folders or patterns.")],
    out: Annotated[Path, typer.Option(help="Output folder; the same command again resumes.")],
    mpp: Annotated[
        float | None, typer.Option(help="Microns per pixel of the images, if known.")
    ] = None,
    tta: Annotated[str, TTA] = "none",
    tile: Annotated[int, TILE] = 1024,
    overlap: Annotated[
        int | None, typer.Option(help="Pixels that tiles share; a quarter of a tile by default.")
    ] = None,
    batch: Annotated[int, BATCH] = 2,
    scales: Annotated[str, SCALES] = "1",
    refine: Annotated[list[str] | None, REFINE] = None,
    gate: Annotated[
        str, typer.Option(help="none, or predicted: only classes that a classifier finds.")
    ] = "none",
    classifier: Annotated[Path | None, CLASSIFIER] = None,
    gate_threshold: Annotated[
        float, typer.Option(help="Probability above which a class counts as found.")
    ] = 0.1,
    overlays: Annotated[bool, typer.Option(help="Also draw masks over their images.")] = True,
    device: Annotated[str, DEVICE] = "auto",
) -> None:
    """Label images: masks/, overlays/ and areas.csv with the area of each class per image.

    Damaged images are skipped with a reason (skipped.csv) and all others are done. Exit code: 0
    when every image was labelled, 5 when at least one was skipped; others as for every command.
    """
    from histoweak.cli.models import (
        check_mpp,
        gate_rule,
        inference_config,
        open_model,
        parse_refiners,
        parse_scales,
    )
    from histoweak.errors import ImageError
    from histoweak.inference.predict import predict_images
    from histoweak.progress import Progress

    check_mpp(mpp)
    config = inference_config(
        tta=tta,
        tile=tile,
        overlap=overlap,
        batch=batch,
        scales=parse_scales(scales),
        refine=parse_refiners(refine),
    )
    rule = gate_rule(gate, classifier, gate_threshold, device, allowed=("none", "predicted"))
    model = open_model(run, device)
    if model.mpp is not None and mpp is None:
        typer.echo(
            f"note: the model works at {model.mpp} microns per pixel; without --mpp the images "
            "are taken to have that scale, and areas are given in pixels only",
            err=True,
        )
    with Progress() as progress:
        result = predict_images(
            model,
            images,
            out,
            config=config,
            mpp=mpp,
            gate=rule,
            overlays=overlays,
            progress=progress,
        )
    typer.echo(
        f"{result.done} labelled, {result.resumed} finished before, {len(result.skipped)} skipped; "
        f"areas: {out / 'areas.csv'}"
    )
    if result.skipped:
        first, reason = result.skipped[0]
        typer.echo(f"skipped: {str(first)!r}: {reason}; see {out / 'skipped.csv'}", err=True)
        raise typer.Exit(ImageError.exit_code)
