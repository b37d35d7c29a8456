"""`histoweak demo`: from nothing to a report in one command."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data and run.")] = Path("demo"),
    data: Annotated[
        Path | None, typer.Option(help="GlaS folder (train/, testA/) or a manifest.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything.")] = 0,
) -> None:
    """Make synthetic tissue, train on patch labels alone, evaluate, write report.html.

    With --data it does the same on real tissue: a manifest, or the folder of the GlaS challenge.
    """
    from histoweak.api import run_method
    from histoweak.cli.ladder import print_ladder
    from histoweak.demo import demo_data
    from histoweak.report.from_run import report_run

    prepared = demo_data(data, out, seed)
    typer.echo(f"data: {prepared.manifest}")
    finished = run_method(
        "vgg-cam", prepared.manifest, out / "run", recipe=prepared.recipe, seed=seed
    )
    if finished.evaluation is not None:
        print_ladder(finished.evaluation)
        typer.echo(f"report: {report_run(out / 'run')}")
