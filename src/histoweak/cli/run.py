"""`histoweak run`: train, evaluate and report one method on one data set."""

from pathlib import Path
from typing import Annotated, Any

import typer

from histoweak.cli.runtime import Devices, NumNodes, Strategy, runtime_settings


def run(
    method: Annotated[str, typer.Argument(help="Method; `histoweak methods` lists them.")],
    data: Annotated[Path, typer.Option(help="Manifest, .csv or .parquet.")],
    out: Annotated[Path, typer.Option(help="Run folder; the same command again resumes.")],
    recipe: Annotated[str, typer.Option(help="Named settings to start from.")] = "default",
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, as segmenter.fit.steps=500.")
    ] = None,
    select: Annotated[
        str | None, typer.Option(help="Checkpoint: last, val-label or val-mask.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything.")] = 0,
    devices: Devices = None,
    num_nodes: NumNodes = None,
    strategy: Strategy = None,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard files.")] = False,
) -> None:
    """Train a method on patch labels, evaluate it on held-out images, write report.html."""
    from histoweak.api import run_method
    from histoweak.cli.ladder import print_ladder
    from histoweak.config import parse_setting, read_yaml
    from histoweak.pipeline import is_leader
    from histoweak.report.from_run import report_run

    layers: list[dict[str, Any]] = [read_yaml(config)] if config else []
    layers += [parse_setting(text) for text in set_ or []]
    layers.append(runtime_settings(devices, num_nodes, strategy))
    finished = run_method(
        method,
        data,
        out,
        recipe=recipe,
        settings=layers,
        select=select,
        seed=seed,
        tensorboard=tensorboard,
    )
    if not is_leader():
        return
    if finished.evaluation is None:
        typer.echo("nothing measured: no val or test image has a mask")
    else:
        print_ladder(finished.evaluation)
        typer.echo(f"report: {report_run(out)}")
    typer.echo(f"model: {finished.model}")
