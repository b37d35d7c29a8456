"""`histoweak report`: write the report of a finished run again."""

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Write report.html of a finished run."""
    from histoweak.report.from_run import report_run

    typer.echo(f"report: {report_run(run)}")
