"""Two random views of one piece of tissue, for training without labels.

Chen et al. (ICML 2020), "A simple framework for contrastive learning of visual representations",
section 3: crop, colour and blur. Tissue has no up, so views are also turned; colour is varied as
stain, and pieces are cut so large that cells keep about their size, since size tells them apart.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from histoweak.config import StrictConfig
from histoweak.data.stain import jitter_stain


class ViewConfig(StrictConfig):
    """How views are drawn.

    A view shows a square of the piece whose area is between the share `area` and all of it, at
    `size` pixels a side; nothing is smoothed before, so pieces should not be much larger. `stain`
    and `stain_shift` are the largest relative and absolute change of each of the H, E and D optical
    densities; `gray` and `blur` how often colour is taken away and edges are softened by a Gaussian
    of up to `sigma` pixels.
    """

    size: int = Field(96, ge=32)
    area: float = Field(0.4, gt=0, le=1)
    stain: float = Field(0.5, ge=0, lt=1)
    stain_shift: float = Field(0.1, ge=0, lt=1)
    gray: float = Field(0.1, ge=0, le=1)
    blur: float = Field(0.3, ge=0, le=1)
    sigma: float = Field(1.5, gt=0)


def piece_side(config: ViewConfig) -> int:
    """Side in pixels of pieces whose views show tissue at about its own scale.

    A view of the mean area has `size` pixels for as many pixels of the piece.

    Args:
        config: how views are drawn.

    Example:
        >>> piece_side(ViewConfig(size=96, area=0.4))  # views of 73 to 115 pixels
        115
    """
    return math.ceil(config.size / math.sqrt((1 + config.area) / 2))


def random_view(images: Tensor, config: ViewConfig) -> Tensor:
    """Draw one view of every image with torch's own generator.

    Random numbers are drawn on the CPU, so that they are the same on every device.

    Args:
        images: (B, 3, C, C) float in [0, 1].
        config: how views are drawn.

    Returns:
        (B, 3, size, size) float in [0, 1].
    """
    count = len(images)
    views = _place(images, config)
    factors = 1 + config.stain * _spread(count, 3)
    stain = torch.cat([factors, config.stain_shift * _spread(count, 3)], dim=1)
    views = jitter_stain(views, stain.to(views))
    views = _where(torch.rand(count) < config.blur, _blur(views, config.sigma), views)
    return _where(torch.rand(count) < config.gray, views.mean(dim=1, keepdim=True), views)


def _spread(*size: int) -> Tensor:
    """Uniform in [-1, 1]."""
    return 2 * torch.rand(*size) - 1


def _place(images: Tensor, config: ViewConfig) -> Tensor:
    """Cut, turn and mirror, in one resampling."""
    count = len(images)
    side = (config.area + (1 - config.area) * torch.rand(count)).sqrt()
    centre = (1 - side)[:, None] * _spread(count, 2)
    angle = torch.randint(4, (count,)) * (torch.pi / 2)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    turn = torch.stack(
        [
            torch.stack([angle.cos() * mirror, -angle.sin()], dim=1),
            torch.stack([angle.sin() * mirror, angle.cos()], dim=1),
        ],
        dim=1,
    )
    theta = torch.cat([turn * side[:, None, None], centre[:, :, None]], dim=2).to(images)
    grid = F.affine_grid(theta, [count, 3, config.size, config.size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _blur(images: Tensor, most: float) -> Tensor:
    """Blur by a separable Gaussian of a width of its own for every image."""
    count, channels = images.shape[:2]
    radius = int(2 * most) + 1
    sigma = most * torch.rand(count, 1).clamp(min=0.1)
    at = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).to(images).repeat_interleave(channels, 0)
    flat = images.reshape(1, count * channels, *images.shape[2:])
    across, down = kernel[:, None, None, :], kernel[:, None, :, None]
    for weights, pad in ((across, (radius, radius, 0, 0)), (down, (0, 0, radius, radius))):
        flat = F.conv2d(F.pad(flat, pad, mode="replicate"), weights, groups=count * channels)
    return flat.view_as(images)


def _where(chosen: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return torch.where(chosen.to(second.device)[:, None, None, None], first, second)
