"""White background: pixels that are no tissue."""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from histoweak.config import StrictConfig
from histoweak.refine.components import drop_small


class WhiteConfig(StrictConfig):
    """Rule for white background.

    A pixel is white when its grey value (ITU-R BT.601 luma) is above `gray`; white patches of
    fewer than `min_pixels` connected pixels are tissue after all (lumina, cracks).
    """

    gray: int = Field(200, ge=0, le=255)
    min_pixels: int = Field(50, ge=0)


def white_mask(image: npt.NDArray[np.uint8], config: WhiteConfig) -> npt.NDArray[np.bool_]:
    """Find white background.

    Args:
        image: (H, W, 3) uint8 RGB.
        config: the rule.

    Returns:
        (H, W) bool, True on white.
    """
    # Integer weights in 1/1000: exact, and the same on every machine.
    luma = image.astype(np.int32) @ np.array([299, 587, 114], np.int32)
    white: npt.NDArray[np.bool_] = luma > config.gray * 1000
    return drop_small(white, config.min_pixels)
