"""HistoSegNet's adjustments between classes: background, other tissue, subtraction.

Source: Chan et al., "HistoSegNet" (ICCV 2019), section 3.3, with the constants of the released
code. All of it is arithmetic on one pixel and its colour, but for a blur of the background.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import ndimage
from scipy.special import expit

from histoweak.classes import ClassSet
from histoweak.config import StrictConfig
from histoweak.errors import ConfigError

Scores = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
Subtract = Literal["margin", "in-place", "none"]

EXTRAS = 2
"""Maps behind those of the K classes: background and other tissue."""
DARKEST_LEVEL, BRIGHTEST_LEVEL, BELOW_WHITE = 200.0, 240.0, 15.0


class BackgroundConfig(StrictConfig):
    """Activation of white background.

    `height * sigmoid(slope * (brightness - level))`, brightness the mean of R, G and B in 0..255,
    blurred with `blur` pixels of standard deviation, less the strongest of the `exempt` classes
    (tissue that is white, such as fat). A null `level` is found in the training images, see
    `white_level`.
    """

    height: float = Field(0.75, gt=0, le=1)
    slope: float = Field(4.0, gt=0, allow_inf_nan=False)
    level: float | None = Field(None, ge=0, le=255)
    blur: float = Field(2.0, ge=0, le=100)
    exempt: tuple[str, ...] = ()


class OtherConfig(StrictConfig):
    """Activation of tissue of none of the classes.

    `share` times what the strongest class leaves to 1, and at least the maps of `claimed_by`,
    classes that take no part but whose tissue is known to be other. `name` is the class of the
    data set that it stands for, whose own map is not used; null where there is none: its pixels
    then carry no class.
    """

    name: str | None = None
    share: float = Field(0.05, ge=0, le=1)
    claimed_by: tuple[str, ...] = ()


class AdjustConfig(StrictConfig):
    """Adjustments between classes.

    `segment` is the class set: the classes that compete for pixels, null for all; the others are
    learned from labels but never win. `subtract` leaves to each class what it has more than all
    others: `margin`, so that only the strongest one keeps anything (other tissue keeps all of its
    own, as in the released code, and may win where classes are close); `in-place` goes through
    background and the classes in order and compares with what the earlier ones were reduced to, as
    the released code does by mistake; `none` leaves all as they are.
    """

    segment: tuple[str, ...] | None = None
    background: BackgroundConfig | None = BackgroundConfig()
    other: OtherConfig | None = None
    subtract: Subtract = "margin"

    def names(self) -> tuple[str, ...]:
        """All classes that the settings name."""
        exempt = self.background.exempt if self.background else ()
        other = self.other
        claims = () if other is None else (*other.claimed_by, *([other.name] if other.name else []))
        return (*(self.segment or ()), *exempt, *claims)


def require_names(names: tuple[str, ...], classes: ClassSet) -> None:
    """Refuse names that are none of the classes.

    Raises:
        ConfigError: one is not.
    """
    unknown = [name for name in names if name not in classes.names]
    if unknown:
        raise ConfigError(
            f"no class is named {unknown[0]!r}",
            where="segment, exempt, other or forced",
            expected=f"one of {list(classes.names)}",
            remedy="Name classes of the data set",
        )


def adjust(scores: Scores, image: UInt8, config: AdjustConfig, classes: ClassSet) -> Scores:
    """Let classes, background and other tissue compete.

    Args:
        scores: (K, H, W) activations in [0, 1].
        image: (H, W, 3) uint8 RGB.
        config: what is done; its background has a `level`.
        classes: the K classes.

    Returns:
        (K + 2, H, W) float32 in [0, 1]: the classes, background, other tissue.
    """
    index = {name: i for i, name in enumerate(classes.names)}
    other = config.other
    out = np.zeros((len(classes) + EXTRAS, *scores.shape[1:]), np.float32)
    stands_for = other.name if other else None
    competing = [index[n] for n in config.segment or classes.names if n != stands_for]
    out[competing] = scores[competing]
    if config.background is not None:
        exempt = [index[n] for n in config.background.exempt]
        out[-2] = background(image, config.background, scores[exempt])
    if other is not None:
        strongest = out[:-1].max(axis=0)
        claims = scores[[index[n] for n in other.claimed_by]]
        out[-1] = np.maximum(other.share * (1 - strongest), claims.max(axis=0, initial=0))
    out.clip(0, 1, out=out)
    # Other tissue is what is left over: it is compared with, but not reduced.
    order = [*([] if config.background is None else [len(out) - 2]), *competing]
    if config.subtract == "in-place":
        compared = [*order, *([] if other is None else [len(out) - 1])]
        out[compared] = subtract_in_place(out[compared], len(order))
    elif config.subtract == "margin":
        out[order] = margins(out)[order]
    return out


def background(image: UInt8, config: BackgroundConfig, exempt: Scores) -> Scores:
    """Activation of white background, (H, W) in [0, 1].

    Args:
        image: (H, W, 3) uint8 RGB.
        config: its constants; `level` is given.
        exempt: (E, H, W) activations of white tissue.
    """
    if config.level is None:
        raise ValueError("the level of the background was not found yet")
    brightness = image.mean(axis=2, dtype=np.float32)
    bright = config.height * expit(config.slope * (brightness - np.float32(config.level)))
    blurred = ndimage.gaussian_filter(bright, config.blur) if config.blur > 0 else bright
    result: Scores = np.clip(blurred - exempt.max(axis=0, initial=0), 0, 1).astype(np.float32)
    return result


def white_level(brightest: float) -> float:
    """Level of the background for a scanner whose white is not 255.

    The published level lies 15 below pure white. Tissue alone has no white: the level stays
    within 200 and 240.

    Args:
        brightest: brightness of the scanner's white, 0..255.
    """
    return float(np.clip(brightest - BELOW_WHITE, DARKEST_LEVEL, BRIGHTEST_LEVEL))


def margins(maps: Scores) -> Scores:
    """What the strongest map has more than the next, at its own place; 0 elsewhere.

    Args:
        maps: (M, H, W), at least two.
    """
    first = maps.argmax(axis=0)[None]
    two = np.partition(maps, -2, axis=0)[-2:]
    out = np.zeros_like(maps)
    np.put_along_axis(out, first, (two[1] - two[0])[None], axis=0)
    return out


def subtract_in_place(maps: Scores, reduced: int) -> Scores:
    """The released code's subtraction, which compares with maps that are reduced already.

    [0.6, 0.5, 0.1] becomes [0.1, 0.4, 0]: the second class wins a pixel of the first. There,
    background comes before the classes. Values below 0 are cut off in the end only, so that the
    last map can gain by them.

    Args:
        maps: (M, H, W) in the order of the released code; a lone one stays as it is.
        reduced: how many of them, from the first on, are reduced; the others are compared with.

    Returns:
        (M, H, W) in [0, 1].
    """
    out = maps.copy()
    for place in range(reduced if len(maps) > 1 else 0):
        out[place] -= np.delete(out, place, axis=0).max(axis=0)
    return out.clip(0, 1)
