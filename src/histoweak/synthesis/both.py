"""Mosaics and Bezier images side by side, as a training step takes them."""

from typing import Literal

import torch
from torch import Tensor

from histoweak.synthesis.bezier import bezier
from histoweak.synthesis.cache import PatchCache
from histoweak.synthesis.config import SynthesisConfig
from histoweak.synthesis.draw import uniform
from histoweak.synthesis.mosaic import mosaic

Kind = Literal["mosaic", "bezier"]


def count_kinds(n: int, config: SynthesisConfig, generator: torch.Generator) -> dict[Kind, int]:
    """How many of n images are of each kind.

    The whole part of n * `mosaic_share` is fixed, chance decides on what is left over, so that
    batches of any size have the share on average.
    """
    wanted = n * config.mosaic_share
    mosaics = int(wanted) + int(uniform((1,), generator).item() < wanted - int(wanted))
    return {"mosaic": mosaics, "bezier": n - mosaics}


def synthesise_kind(
    cache: PatchCache,
    kind: Kind,
    n: int,
    size: int,
    config: SynthesisConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Make n images of one kind; returns what `mosaic` and `bezier` do."""
    if kind == "mosaic":
        return mosaic(cache, n, size, config.mosaic, generator)
    return bezier(cache, n, size, config.bezier, generator)


def synthesise(
    cache: PatchCache, n: int, size: int, config: SynthesisConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make n images, `mosaic_share` of them mosaics.

    Returns:
        As `mosaic`; mosaics first.
    """
    counts = count_kinds(n, config, generator)
    parts = [
        synthesise_kind(cache, kind, count, size, config, generator)
        for kind, count in counts.items()
        if count
    ]
    images, masks = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(masks)
