"""`histoweak report`: write the report of a finished run again."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    reference: Annotated[
        Path | None,
        typer.Option(help="Another run on the same data to show beside it, as `supervised`."),
    ] = None,
    pseudo_masks: Annotated[
        Path | None,
        typer.Option(
            help="JSON of `evaluate --pseudo-masks RUN`: shows how good the training masks were."
        ),
    ] = None,
) -> None:
    """Write report.html of a finished run."""
    from histoweak.report.from_run import report_run

    typer.echo(f"report: {report_run(run, reference, pseudo_masks)}")
