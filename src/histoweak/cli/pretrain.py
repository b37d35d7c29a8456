"""`histoweak pretrain`: train an encoder on patches without labels."""

from pathlib import Path
from typing import Annotated

import typer

from histoweak.cli.runtime import Devices, NumNodes, Strategy, runtime_settings


def pretrain(
    data: Annotated[Path, typer.Argument(help="Folder of images, or a manifest.")],
    out: Annotated[Path, typer.Option(help="Run folder; the same command again resumes.")],
    recipe: Annotated[str, typer.Option(help="Named settings to start from.")] = "default",
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, as pretrain.fit.steps=500.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything.")] = 0,
    devices: Devices = None,
    num_nodes: NumNodes = None,
    strategy: Strategy = None,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard files.")] = False,
) -> None:
    """Train an encoder on unlabelled patches, for every method to start from."""
    from histoweak.config import parse_setting, read_yaml
    from histoweak.pipeline import is_leader
    from histoweak.pretraining import START_KEYS
    from histoweak.pretraining import pretrain as train

    layers = [read_yaml(config)] if config else []
    layers += [parse_setting(text) for text in set_ or []]
    layers.append(runtime_settings(devices, num_nodes, strategy))
    kept = train(data, out, recipe=recipe, settings=layers, seed=seed, tensorboard=tensorboard)
    if is_leader():
        typer.echo(f"encoder: {kept}")
        for key in sorted(set(START_KEYS.values())):
            methods = ", ".join(method for method, own in START_KEYS.items() if own == key)
            typer.echo(f"start {methods} from it: --set {key}={kept}")
