"""Superpixels: Achanta et al., "SLIC superpixels" (TPAMI 2012), as scikit-image computes them."""

import numpy as np
import numpy.typing as npt

from histoweak.refine.config import SuperpixelConfig
from histoweak.refine.vote import Scores, vote_partition


def superpixels(image: npt.NDArray[np.uint8], config: SuperpixelConfig) -> npt.NDArray[np.int64]:
    """Divide an image (H, W, 3) uint8 into superpixels: (H, W) numbers from 0."""
    from skimage.segmentation import slic  # slow to import, and seldom needed

    wanted = max(1, round(image.shape[0] * image.shape[1] / config.size**2))
    found: npt.NDArray[np.int64] = slic(
        image,
        n_segments=wanted,
        compactness=config.compactness,
        sigma=config.blur,
        start_label=0,
        channel_axis=-1,
    )
    return found


def refine_superpixels(
    image: npt.NDArray[np.uint8], scores: Scores, config: SuperpixelConfig
) -> Scores:
    """Mean scores (K, H, W) of each superpixel of an image (H, W, 3) uint8."""
    return vote_partition(superpixels(image, config), scores)
