"""`histoweak convert`: weights that others publish, as safetensors."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Turn published weights into safetensors.")


@app.callback()
def _convert() -> None:
    """Turn published weights into safetensors."""


@app.command()
def resnet38d(
    file: Annotated[Path, typer.Argument(help="The published .params file of MXNet.")],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
) -> None:
    """Convert the ImageNet weights of ResNet38 (model A1); MXNet is not needed."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from histoweak.atomic import atomic_path
    from histoweak.errors import OutputError
    from histoweak.nets.convert_resnet38d import convert_resnet38d

    remedy = "Choose a .safetensors file in a folder that you may write to"
    if out.suffix != ".safetensors":
        raise OutputError(
            f"ends in {out.suffix or 'nothing'!r}",
            where=out,
            expected=".safetensors",
            remedy=remedy,
        )
    state = convert_resnet38d(file)
    try:
        with atomic_path(out) as temporary:
            save_file(state, temporary)
    except (OSError, SafetensorError) as error:
        problem = f"cannot be written ({error})"
        raise OutputError(problem, where=out, remedy=remedy) from error
    typer.echo(f"{out}: {len(state)} tensors; use it as classifier.net.weights")
