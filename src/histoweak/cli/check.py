"""`histoweak data check`: look through a data set before training on it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from histoweak.data.check import CheckResult

EXAMPLE_SIGNS = 60


def check(
    manifest: Annotated[Path, typer.Argument(help="Manifest, .csv or .parquet.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for check.html, check.json and check.csv.", show_default="check"),
    ] = None,
    presence: Annotated[
        float,
        typer.Option(min=0, max=0.999, help="Share of a mask from which a class must be labelled."),
    ] = 0.05,
    deviations: Annotated[
        float, typer.Option(min=0.1, help="Robust deviations from which stain and focus are odd.")
    ] = 5.0,
    white: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of white above which an image is empty.")
    ] = 0.95,
    limit_pictures: Annotated[
        int, typer.Option(min=0, help="Cases of each finding that check.html shows in pictures.")
    ] = 12,
    workers: Annotated[int, typer.Option(min=1, help="Images worked on at once.")] = (
        os.cpu_count() or 1
    ),
) -> None:
    """Look for damaged files, leaks between splits, copies, wrong labels and odd stains.

    Reads every image and mask once. Prints what it found and writes check.html (with sample
    pictures), check.json (every case) and check.csv (what was measured on each image), by default
    to the folder `check` beside the manifest.

    Exit code: 0 without errors, whatever the warnings; 4 when errors were found.
    """
    from rich.console import Console

    from histoweak.config import build_config
    from histoweak.data.check import CheckConfig, check_manifest
    from histoweak.data.manifest import Manifest
    from histoweak.errors import ManifestError
    from histoweak.progress import Progress

    values = {"presence": presence, "deviations": deviations, "white": white}
    config = build_config(CheckConfig, values, where="histoweak data check")
    table = Manifest.read(manifest, check_files=False, check_splits=False)
    with Progress() as progress:
        result = check_manifest(table, config, workers=workers, progress=progress)
    folder = out if out is not None else manifest.parent / "check"
    _write(result, folder, limit_pictures)
    console = Console()
    console.print(contents_table(result))
    if result.findings:
        console.print(findings_table(result))
    typer.echo(_verdict(result, folder))
    if result.counts["error"]:
        raise typer.Exit(ManifestError.exit_code)


def _write(result: "CheckResult", folder: Path, limit_pictures: int) -> None:
    import json

    from histoweak.atomic import replacing
    from histoweak.data.table import write_table
    from histoweak.report.check_page import write_check_page

    with replacing(folder / "check.json") as temporary:
        text = json.dumps(result.to_dict(), indent=1, ensure_ascii=True)
        temporary.write_text(text + "\n", encoding="utf-8")
    write_table(folder / "check.csv", result.columns())
    write_check_page(folder / "check.html", result, limit_pictures)


def contents_table(result: "CheckResult") -> "Group":
    """What each split holds, one column for each."""
    from rich.markup import escape
    from rich.table import Table

    from histoweak.cli.tables import titled
    from histoweak.report.text import clean, percent

    table = Table()
    table.add_column("")
    for split in result.splits:
        table.add_column(split.name or "unassigned", justify="right")
    for name in ("images", "usable", "labelled", "masks", "patients", "slides"):
        table.add_row(name, *(str(getattr(split, name)) for split in result.splits))
    table.add_row("white", *(percent(split.white) for split in result.splits), end_section=True)
    for k, name in enumerate(result.checked.manifest.classes.names):
        counts = (split.classes[k] for split in result.splits)
        table.add_row(escape(clean(name)), *(f"{c.images} ({c.alone})" for c in counts))
    return titled("images; of each class: with it (with nothing else)", table)


def findings_table(result: "CheckResult") -> "Table":
    """One line for each finding, with its first case."""
    from rich.markup import escape
    from rich.table import Table

    from histoweak.report.text import clean, shorten

    colors = {"error": "red", "warning": "yellow", "note": "dim"}
    table = Table(title="findings", title_justify="left")
    table.add_column("kind")
    table.add_column("finding")
    table.add_column("cases", justify="right")
    table.add_column("the first", overflow="fold")
    records = result.checked.manifest.records
    for finding in result.findings:
        first = finding.items[0]
        names = [records[i].image.name for i in first.images[:2]]
        example = ", ".join([*(shorten(clean(n), 40) for n in names), clean(first.note)])
        kind = f"[{colors[finding.severity]}]{finding.severity}[/]"
        title = escape(clean(finding.title))
        cases = str(len(finding.items))
        table.add_row(kind, title, cases, escape(shorten(example, 2 * EXAMPLE_SIGNS)))
    return table


def _verdict(result: "CheckResult", folder: Path) -> str:
    from histoweak.report.text import clean

    counts = ", ".join(f"{n} {s}{'' if n == 1 else 's'}" for s, n in result.counts.items())
    return f"findings: {counts}; see {clean(folder / 'check.html')}"
