"""`histoweak synth`: images with exact masks from patches of a single class."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def synth(
    data: Annotated[Path, typer.Argument(help="Manifest, .csv or .parquet.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    kind: Annotated[
        Literal["mosaic", "bezier", "both"],
        typer.Option(help="Warped grids, blobs of one class in another, or half of either."),
    ] = "both",
    number: Annotated[int, typer.Option(min=1, help="Number of images.")] = 100,
    size: Annotated[
        int | None, typer.Option(min=16, help="Side in pixels; without it that of the patches.")
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="Microns per pixel to work at; without it as they are.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, as mosaic.cell=56.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 0,
) -> None:
    """Make images with exact masks from training patches whose label names a single class.

    The contact sheet shows whether they look as they should; masks of training rows are not read.
    """
    from histoweak.config import build_config, merge, parse_setting, read_yaml
    from histoweak.data.manifest import Manifest
    from histoweak.progress import Progress
    from histoweak.synthesis.config import SynthesisConfig
    from histoweak.synthesis.write import write_synthetic

    layers: list[dict[str, Any]] = [read_yaml(config)] if config else []
    layers += [parse_setting(text) for text in set_ or []]
    settings = build_config(SynthesisConfig, merge(layers), config or "histoweak synth")
    manifest = Manifest.read(data).without_masks()
    with Progress() as progress:
        written = write_synthetic(
            manifest,
            out,
            settings,
            kind=kind,
            number=number,
            size=size,
            mpp=mpp,
            seed=seed,
            progress=progress,
        )
    typer.echo(f"wrote {written.manifest}: {number} images")
    for name, share in zip(manifest.classes.names, written.shares, strict=True):
        typer.echo(f"  {name}: {share:.1%} of all pixels")
    typer.echo(f"look at {written.sheet}")
