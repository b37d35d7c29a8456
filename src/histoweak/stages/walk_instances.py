"""Instances from a walk: each class map is walked once per instance, and the strongest wins."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
import torch

from histoweak.atomic import atomic_path
from histoweak.data.table import write_table
from histoweak.refine.instances import components, instance_map
from histoweak.refine.random_walk import random_walk
from histoweak.stages.scores import score_file
from histoweak.stages.walk_config import WalkConfig

Float = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

SMALLEST = 0.01
"""Share of the image below which an area is no instance."""

AT_ONCE = 16
"""Instances that are walked together; more would only cost memory."""


@dataclass(frozen=True)
class InstanceRow:
    """One instance: its frame, its number there, its class, its size in cells, its best score."""

    frame: int
    instance: int
    label: int
    cells: int
    score: float


def walk_instances(
    start: Float, boundary: Float, field: Float, config: WalkConfig, device: str = "cpu"
) -> tuple[Labels, Float]:
    """Find the instances of one image; Ahn, Cho & Kwak (CVPR 2019), section 4.3.

    Args:
        start: (K, h, w) that are walked; a class whose map is 0 has no instances.
        boundary: (h, w) in [0, 1].
        field: (2, h, w) displacements in pixels of the map.
        config: the walk; an instance must reach `instance_score` of the highest walked score.
        device: where to walk.

    Returns:
        (h, w) number of the instance, 0 = none; and for each of 1, 2, ... its class and score.
    """
    ids = instance_map(torch.from_numpy(np.asarray(field, np.float32)))
    numbers = np.unique(ids[ids > 0])
    if not len(numbers) or not start.any():
        return np.zeros(ids.shape, np.int32), np.zeros((0, 2), np.float32)
    strongest = np.full(ids.shape, -np.inf, np.float32)
    winners = np.zeros(ids.shape, np.int64)
    for first in range(0, len(numbers), AT_ONCE):
        apart = np.stack([np.where(ids == n, start, 0) for n in numbers[first : first + AT_ONCE]])
        walked = random_walk(
            torch.from_numpy(apart.reshape(1, -1, *ids.shape).astype(np.float32)).to(device),
            torch.from_numpy(boundary)[None].to(device),
            radius=config.radius,
            beta=config.beta,
            steps=config.steps,
            tolerance=config.tolerance,
        )[0]
        values, places = (found.cpu().numpy() for found in walked.max(dim=0))
        better = values > strongest
        strongest[better] = values[better]
        winners[better] = first * len(start) + places[better]
    winners[strongest < config.instance_score * strongest.max()] = -1
    numbered = components(winners.astype(np.int32), round(SMALLEST * ids.size))
    found = []
    for number in range(1, int(numbered.max()) + 1):
        inside = numbered == number
        found.append((int(winners[inside][0]) % len(start), float(strongest[inside].max())))
    return numbered, np.asarray(found, np.float32).reshape(-1, 2)


def write_instances(out: Path, frame: int, numbered: Labels, found: Float) -> list[InstanceRow]:
    """Write `instances/` of one frame and return its rows of the table."""
    (out / "instances").mkdir(exist_ok=True)
    with atomic_path(out / "instances" / score_file(frame)) as working:
        tifffile.imwrite(working, numbered, compression="zlib")
    sizes = np.bincount(numbered.ravel(), minlength=len(found) + 1)
    return [
        InstanceRow(frame, number, int(label), int(sizes[number]), float(score))
        for number, (label, score) in enumerate(found, start=1)
    ]


def write_instance_table(path: Path, rows: Sequence[InstanceRow]) -> None:
    """Write one line per instance."""
    columns = {
        field.name: [getattr(row, field.name) for row in rows] for field in fields(InstanceRow)
    }
    write_table(path, columns)
