"""From displacements to instances: pixels that are carried to one place belong to one object.

Ahn, Cho and Kwak (CVPR 2019), section 4.3, "generating class-agnostic instance map".
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

Labels = npt.NDArray[np.int32]


def carried(field: Tensor, steps: int = 300) -> Tensor:
    """Where each pixel ends when it follows the displacements.

    Args:
        field: (2, h, w), rows down and columns to the right, in pixels.
        steps: how often it follows the displacement (bilinear) of the place that it has reached.

    Returns:
        (2, h, w) rows and columns, inside the map.
    """
    height, width = field.shape[1:]
    last = torch.tensor([height - 1, width - 1]).to(field)
    rows, columns = (torch.arange(size).to(field) for size in (height, width))
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
    for _ in range(steps):
        grid = (places / last.clamp(min=1) * 2 - 1).flip(-1)
        moves = F.grid_sample(field[None], grid[None], padding_mode="border", align_corners=True)
        places = (places + moves[0].permute(1, 2, 0)).clamp(min=torch.zeros(2).to(field), max=last)
    return places.permute(2, 0, 1)


def instance_map(field: Tensor, still: float = 2.5, steps: int = 300) -> Labels:
    """Number the instances.

    Pixels that hardly move are centres; centres that touch (4 neighbours) are one instance, and a
    pixel belongs to the centre that it is carried to.

    Args:
        field: (2, h, w), as in `carried`.
        still: length of the displacement in pixels below which a pixel is a centre.
        steps: as in `carried`.

    Returns:
        (h, w) int32, 0 = carried to no centre.
    """
    centres, _ = ndimage.label((field.norm(dim=0) < still).cpu().numpy())
    rows, columns = carried(field, steps).round().long().cpu().numpy()
    found: Labels = centres[rows, columns].astype(np.int32)
    return found


def components(winners: Labels, min_pixels: int) -> Labels:
    """Number the connected areas (4 neighbours) of equal winners, leaving out small ones.

    Args:
        winners: (h, w), negative where nothing won.
        min_pixels: smallest area that stays.

    Returns:
        (h, w) int32, 0 = none, the others in order of the winners.
    """
    numbered, count = np.zeros(winners.shape, np.int32), 0
    for winner in np.unique(winners[winners >= 0]):
        areas, found = ndimage.label(winners == winner)
        for area in range(1, found + 1):
            inside = areas == area
            if inside.sum() >= min_pixels:
                count += 1
                numbered[inside] = count
    return numbered
