"""Scores that walk over an image until its own edges stop them.

Grady, "Random walks for image segmentation" (IEEE TPAMI 2006): image gradients as obstacles of a
random walk; the walk itself is that of `irn`, whose boundaries a network has learned.
"""

import torch
from torch import Tensor

from histoweak.refine.colors import colors_of
from histoweak.refine.config import WalkRefinerConfig
from histoweak.refine.random_walk import random_walk
from histoweak.refine.shrinking import enlarge, shrink


def refine_walk(images: Tensor, scores: Tensor, config: WalkRefinerConfig) -> Tensor:
    """Scores after a walk between the edges of the image.

    Args:
        images: (B, 3, H, W) RGB in [0, 1].
        scores: (B, K, H, W) in [0, 1].
        config: the walk, and what an edge is.

    Returns:
        (B, K, H, W) in [0, 1]; their sum over K stays what it is around them. Pixels for which no
        class scores, such as white background, stay so.
    """
    walked = random_walk(
        shrink(scores, config.shrink),
        edges(images, config),
        radius=config.radius,
        beta=config.beta,
        steps=config.steps,
    )
    return enlarge(walked, config.shrink, scores) * (scores.amax(dim=1, keepdim=True) > 0)


def edges(images: Tensor, config: WalkRefinerConfig) -> Tensor:
    """How much of an edge every cell is: (B, h, w) in [0, 1], 1 for the strongest of each image.

    The strength is the length of the gradient over the three optical densities; `config.strongest`
    is the quantile that counts as 1, so that one pen mark does not make all else faint.
    """
    colors = shrink(colors_of(images, "od", config.blur), config.shrink)
    slopes = [_differences(colors, dim) for dim in (2, 3)]
    strength = torch.stack(slopes).square().sum(dim=(0, 2)).sqrt()
    most = torch.quantile(strength.flatten(1), config.strongest, dim=1)
    return (strength / most.clamp(min=1e-6)[:, None, None]).clamp(max=1)


def _differences(colors: Tensor, dim: int) -> Tensor:
    """Central differences, one-sided at the border; 0 where there is a single row or column."""
    if colors.shape[dim] == 1:
        return torch.zeros_like(colors)
    (slope,) = torch.gradient(colors, dim=dim)
    return slope
