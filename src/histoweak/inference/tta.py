"""Test-time augmentation: the mean over orientations of the tile.

Tissue on a slide has no up and no left, so a prediction may not depend on either: the eight
orientations of the square (the dihedral group D4) are all equally valid views.
"""

from typing import Literal

import torch
from torch import Tensor

from histoweak.inference.tiling import TileFunction

Tta = Literal["none", "mirror", "flips", "d4"]

Orientation = tuple[bool, tuple[int, ...]]
"""Whether transposed, and the dimensions flipped afterwards."""

_FLIPS: tuple[Orientation, ...] = (
    (False, ()),
    (False, (-1,)),
    (False, (-2,)),
    (False, (-2, -1)),
)
ORIENTATIONS: dict[Tta, tuple[Orientation, ...]] = {
    "none": _FLIPS[:1],
    "mirror": _FLIPS[:2],
    "flips": _FLIPS,
    "d4": (*_FLIPS, *((True, flipped) for _, flipped in _FLIPS)),
}
UPRIGHT = _FLIPS[0]


def turned(images: Tensor, orientation: Orientation) -> Tensor:
    """Images (..., h, w) in one orientation."""
    transposed, flipped = orientation
    return torch.flip(images.mT if transposed else images, flipped).contiguous()


def turned_back(maps: Tensor, orientation: Orientation) -> Tensor:
    """Maps (..., h, w) of turned images, as they lie on the images themselves."""
    transposed, flipped = orientation
    upright = torch.flip(maps, flipped)
    return upright.mT if transposed else upright


def augmented(fn: TileFunction, tta: Tta, pixels: int) -> TileFunction:
    """Average `fn` over orientations of its input.

    Orientations go through `fn` side by side, since small images leave most of a processor idle.

    Args:
        fn: (B, C, h, w) -> (B, K, h, w).
        tta: `none` (as it is), `mirror` (also left to right), `flips` (4 orientations) or `d4`
            (8, also turned by 90 degrees).
        pixels: how many pixels `fn` is given at once, unless one image alone has more.

    Returns:
        A function of the same form.
    """
    if tta == "none":
        return fn
    orientations = ORIENTATIONS[tta]

    def mean(tiles: Tensor) -> Tensor:
        at_once = max(1, pixels // tiles[0, 0].numel())
        total: Tensor | None = None
        for transposed in sorted({across for across, _ in orientations}):
            flips = [flipped for across, flipped in orientations if across == transposed]
            upright = tiles.mT if transposed else tiles
            views = torch.cat([torch.flip(upright, flipped) for flipped in flips])
            results = torch.cat([fn(part) for part in torch.split(views, at_once)])
            for result, flipped in zip(results.chunk(len(flips)), flips, strict=True):
                back = turned_back(result, (transposed, flipped))
                total = back if total is None else total + back
        assert total is not None  # noqa: S101 - there is always one orientation
        return total / len(orientations)

    return mean
