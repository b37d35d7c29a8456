"""`histoweak prune`: free the space of settings that were given up."""

from pathlib import Path
from typing import Annotated

import typer


def prune(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing, only tell what would go.")
    ] = False,
) -> None:
    """Remove stages that the latest run in a folder does not use."""
    from histoweak.pipeline import prune as prune_run

    found = prune_run(run, dry_run=dry_run)
    for leftover in found:
        typer.echo(f"{leftover.folder.relative_to(run.absolute())}  {_in_words(leftover.bytes)}")
    total = _in_words(sum(leftover.bytes for leftover in found))
    typer.echo(f"{'would free' if dry_run else 'freed'}: {total}")


def _in_words(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
