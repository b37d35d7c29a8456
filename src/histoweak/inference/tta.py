"""Test-time augmentation: the mean over orientations of the tile.

Tissue on a slide has no up and no left, so a prediction may not depend on either: the eight
orientations of the square (the dihedral group D4) are all equally valid views.
"""

from typing import Literal

import torch
from torch import Tensor

from histoweak.inference.tiling import TileFunction

Tta = Literal["none", "flips", "d4"]

# (transposed, dimensions flipped afterwards)
_FLIPS: tuple[tuple[bool, tuple[int, ...]], ...] = (
    (False, ()),
    (False, (-1,)),
    (False, (-2,)),
    (False, (-2, -1)),
)
ORIENTATIONS: dict[Tta, tuple[tuple[bool, tuple[int, ...]], ...]] = {
    "none": _FLIPS[:1],
    "flips": _FLIPS,
    "d4": (*_FLIPS, *((True, flipped) for _, flipped in _FLIPS)),
}


def augmented(fn: TileFunction, tta: Tta) -> TileFunction:
    """Average `fn` over orientations of its input.

    Args:
        fn: (B, C, h, w) -> (B, K, h, w).
        tta: `none` (as it is), `flips` (4 orientations) or `d4` (8, also turned by 90 degrees).

    Returns:
        A function of the same form, `len(ORIENTATIONS[tta])` times as slow.
    """
    orientations = ORIENTATIONS[tta]
    if len(orientations) == 1:
        return fn

    def mean(tiles: Tensor) -> Tensor:
        total: Tensor | None = None
        for transposed, flipped in orientations:
            turned = torch.flip(tiles.mT if transposed else tiles, flipped)
            result = torch.flip(fn(turned.contiguous()), flipped)
            result = result.mT if transposed else result
            total = result if total is None else total + result
        assert total is not None  # noqa: S101 - there is always one orientation
        return total / len(orientations)

    return mean
