"""Mosaics and Bezier images side by side, as a training step takes them."""

import torch
from torch import Tensor

from histoweak.synthesis.bezier import bezier
from histoweak.synthesis.cache import PatchCache
from histoweak.synthesis.config import SynthesisConfig
from histoweak.synthesis.draw import uniform
from histoweak.synthesis.mosaic import mosaic


def synthesise(
    cache: PatchCache, n: int, size: int, config: SynthesisConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make n images, `mosaic_share` of them mosaics.

    The whole part of n * share is fixed, chance decides on what is left over, so that batches of
    any size have the share on average.

    Returns:
        As `mosaic`; mosaics first.
    """
    wanted = n * config.mosaic_share
    mosaics = int(wanted) + int(uniform((1,), generator).item() < wanted - int(wanted))
    parts = []
    if mosaics:
        parts.append(mosaic(cache, mosaics, size, config.mosaic, generator))
    if n - mosaics:
        parts.append(bezier(cache, n - mosaics, size, config.bezier, generator))
    images, masks = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(masks)
