"""Small pictures and hashes by which near duplicates are recognised, however they are turned."""

import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8 = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]

SIDE = 18
"""Side of a thumbnail; its detail is what remains after blocks of 2 x 2 are levelled."""

TURNS = 8
"""Rotations by right angles and reflections of a square."""

_MAX_SIDE = 2048


def thumbnail(image: UInt8) -> bytes:
    """Mean grey values of an image on a grid of `SIDE` x `SIDE`, as bytes.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    step = -(-max(image.shape[:2]) // _MAX_SIDE)
    grey = Image.fromarray(np.ascontiguousarray(image[::step, ::step])).convert("F")
    small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
    return bytes(np.rint(small).clip(0, 255).astype(np.uint8).tobytes())


def stack(thumbnails: list[bytes]) -> UInt8:
    """(N, SIDE, SIDE) uint8 of N thumbnails."""
    return np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, SIDE, SIDE)


def turned(small: npt.NDArray[np.generic], turn: int) -> npt.NDArray[np.generic]:
    """(N, S, S) after rotation by `turn % 4` right angles, reflected from 4 on."""
    rotated = np.rot90(small, turn % 4, (1, 2))
    return rotated[:, :, ::-1] if turn >= 4 else rotated


def hashes(thumbnails: UInt8) -> Hashes:
    """Difference hashes: does the grey value rise from each cell to its right neighbour?

    The comparison of neighbours (N. Krawetz, "Kind of like that", 2013) ignores brightness and
    contrast and survives compression and scaling.

    Args:
        thumbnails: (N, SIDE, SIDE) uint8.

    Returns:
        (N, TURNS) uint64, one hash of 64 bits for each way to turn the image.
    """
    coarse = _coarse(thumbnails)
    found = np.zeros((len(coarse), TURNS), np.uint64)
    for turn in range(TURNS):
        cells = turned(coarse, turn)
        rises = cells[:, :8, 1:] > cells[:, :8, :-1]  # type: ignore[operator]
        found[:, turn] = np.packbits(rises.reshape(len(coarse), 64), axis=1).view(np.uint64)[:, 0]
    return found


def details(thumbnails: UInt8) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What a thumbnail shows beyond its coarse shades, and how much of it there is.

    Two patches at the edge of the tissue share their coarse shades, not their detail.

    Args:
        thumbnails: (N, SIDE, SIDE) uint8.

    Returns:
        (N, SIDE, SIDE) detail of unit length, and (N,) its standard deviation in grey values.
    """
    levelled = _coarse(thumbnails).repeat(2, axis=1).repeat(2, axis=2)
    detail = thumbnails.astype(np.float32) - levelled
    length = np.sqrt((detail**2).sum(axis=(1, 2)))
    return detail / np.maximum(length, 1e-6)[:, None, None], length / SIDE


def _coarse(thumbnails: UInt8) -> npt.NDArray[np.float32]:
    """(N, SIDE / 2, SIDE / 2) means of blocks of 2 x 2."""
    half = SIDE // 2
    blocks = thumbnails.reshape(-1, half, 2, half, 2).astype(np.float32)
    return np.asarray(blocks.mean(axis=(2, 4)))
