"""The command line. Heavy imports wait inside the commands, so that help comes at once."""

import sys

import typer
from rich.console import Console

from histoweak import __version__
from histoweak.cli.compare import compare
from histoweak.cli.convert import app as convert_app
from histoweak.cli.data import app as data_app
from histoweak.cli.demo import demo
from histoweak.cli.evaluate import evaluate
from histoweak.cli.export import app as export_app
from histoweak.cli.methods import methods
from histoweak.cli.predict import predict
from histoweak.cli.pretrain import pretrain
from histoweak.cli.process import settle
from histoweak.cli.prune import prune
from histoweak.cli.report import report
from histoweak.cli.run import run
from histoweak.cli.synth import synth
from histoweak.errors import HistoweakError

app = typer.Typer(
    name="histoweak",
    help="Pixel-level tissue maps of H&E histopathology from labels on patches.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo)
app.command()(run)
app.command()(pretrain)
app.command()(predict)
app.command()(evaluate)
app.command()(compare)
app.command()(report)
app.command()(prune)
app.command()(methods)
app.command()(synth)
app.add_typer(data_app, name="data")
app.add_typer(convert_app, name="convert")
app.add_typer(export_app, name="export")

INTERRUPTED = 130

settle()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"histoweak {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    """Pixel-level tissue maps of H&E histopathology from labels on patches."""


def main() -> None:
    """Run the command line; errors become one message and a documented exit code."""
    try:
        app()
    except HistoweakError as error:
        # Neither file names nor values are to be read as mark-up, emoji or numbers.
        console = Console(stderr=True, soft_wrap=True, emoji=False, highlight=False)
        console.print(f"error: {error}", style="red", markup=False)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Typer's answer to Ctrl-C, without a word
            Console(stderr=True).print("interrupted; the same command again resumes", style="red")
        raise
