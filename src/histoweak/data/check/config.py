"""From where on a value counts as suspicious."""

from pydantic import Field

from histoweak.config import StrictConfig
from histoweak.refine.white import WhiteConfig


class CheckConfig(StrictConfig):
    """Thresholds of the data check; each is stated in its results.

    Args:
        presence: a mask contradicts a label of 0 where the class covers more than this share of
            all pixels; the share by which `histoweak data tile` labels.
        white: an image counts as empty when more than this share of it is white.
        deviations: an image is an outlier when its stain or sharpness is this many robust standard
            deviations (1.4826 times the median absolute deviation) from the median.
        least_side: images with a side below this many pixels are pointed out.
        rare: a class is rare when fewer than this share of the labelled train images hold it.
        white_rule: which pixels are white background.
    """

    presence: float = Field(0.05, ge=0, lt=1)
    white: float = Field(0.95, gt=0, le=1)
    deviations: float = Field(5.0, gt=0)
    least_side: int = Field(32, ge=1)
    rare: float = Field(0.02, ge=0, le=1)
    white_rule: WhiteConfig = WhiteConfig()
