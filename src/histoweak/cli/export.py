"""`histoweak export`: bring results into the formats of other programs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Bring models into other formats.")


@app.callback()
def _export() -> None:
    """Bring models into other formats."""


@app.command()
def onnx(
    model: Annotated[Path, typer.Argument(help="Run folder, or folder of a saved model.")],
    out: Annotated[Path, typer.Argument(help="The .onnx file to write.")],
) -> None:
    """Export a model to ONNX and check that it yields the same values (needs histoweak[onnx])."""
    from histoweak.inference.model import load_model
    from histoweak.inference.onnx import export_onnx

    difference = export_onnx(load_model(model), out)
    typer.echo(f"{out}: equal to the network within {difference:.1g}")
