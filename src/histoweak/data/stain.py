"""Stain augmentation in the space of haematoxylin, eosin and a residual (HED).

Ruifrok & Johnston (2001), "Quantification of histochemical staining by color deconvolution":
optical density is linear in the amounts of stain. Tellez et al. (2018), section on HED-light
augmentation: scale and shift each amount at random.
"""

import torch
from torch import Tensor

from histoweak.data import hed

RGB_FROM_HED = torch.tensor(hed.RGB_FROM_HED)
HED_FROM_RGB = torch.linalg.inv(RGB_FROM_HED)


def jitter_stain(images: Tensor, stain: Tensor) -> Tensor:
    """Scale and shift the stain amounts of every image.

    Args:
        images: (B,3,H,W) float in [0,1].
        stain: (B,6) float: factors of H, E and D, then shifts in optical density.

    Returns:
        Images of the same shape, in [0,1].
    """
    density = -torch.log(images.clamp(min=1 / 255))
    to_hed = HED_FROM_RGB.to(images)
    to_rgb = RGB_FROM_HED.to(images)
    # One 3x3 matrix and one shift per image do deconvolution, jitter and recomposition at once.
    matrix = torch.einsum("cd,bd,de->bec", to_hed, stain[:, :3], to_rgb)
    shift = stain[:, 3:] @ to_rgb
    mixed = torch.einsum("bec,bchw->behw", matrix, density) + shift[:, :, None, None]
    return torch.exp(-mixed).clamp(0, 1)
