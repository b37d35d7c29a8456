"""Options that several commands hand on to Lightning's Trainer."""

from typing import Annotated, Any

import typer

Devices = Annotated[str | None, typer.Option(help="As Lightning's Trainer takes it.")]
NumNodes = Annotated[int | None, typer.Option(help="As Lightning's Trainer takes it.")]
Strategy = Annotated[str | None, typer.Option(help="As Lightning's Trainer takes it.")]


def runtime_settings(
    devices: str | None, num_nodes: int | None, strategy: str | None
) -> dict[str, Any]:
    """The options that were given, as a layer of settings."""
    given = {"devices": _number(devices), "num_nodes": num_nodes, "strategy": strategy}
    return {"runtime": {key: value for key, value in given.items() if value is not None}}


def _number(devices: str | None) -> int | str | None:
    return int(devices) if devices is not None and devices.lstrip("-").isdigit() else devices
