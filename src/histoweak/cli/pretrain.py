"""`histoweak pretrain`: train an encoder on patches without labels."""

from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    data: Annotated[Path, typer.Argument(help="Folder of images, or a manifest.")],
    out: Annotated[Path, typer.Option(help="Run folder; the same command again resumes.")],
    recipe: Annotated[str, typer.Option(help="Named settings to start from.")] = "default",
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, as pretrain.fit.steps=500.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything.")] = 0,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard files.")] = False,
) -> None:
    """Train an encoder on unlabelled patches, for every method to start from."""
    from histoweak.config import parse_setting, read_yaml
    from histoweak.pipeline import is_leader
    from histoweak.pretraining import pretrain as train

    layers = [read_yaml(config)] if config else []
    layers += [parse_setting(text) for text in set_ or []]
    kept = train(data, out, recipe=recipe, settings=layers, seed=seed, tensorboard=tensorboard)
    if is_leader():
        typer.echo(f"encoder: {kept}")
        typer.echo(f"start from it: --set classifier.net.weights={kept}")
