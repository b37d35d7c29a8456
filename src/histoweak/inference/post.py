"""From a classifier's activations to its own prediction, without a second network.

Chan et al., "HistoSegNet" (ICCV 2019), sections 3.3 and 3.4.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.inference.config import InferenceConfig
from histoweak.inference.post_config import PostConfig, SavedPost
from histoweak.inference.resize import resize_bands
from histoweak.refine.adjust import EXTRAS, adjust
from histoweak.refine.chain import refine

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


def adjusted_bands(
    activations: Tensor,
    stride: int,
    image: UInt8,
    post: SavedPost,
    classes: ClassSet,
    config: InferenceConfig,
    device: torch.device,
) -> Iterator[Tensor]:
    """Enlarge activations, adjust and refine them, block by block.

    Only a row of blocks of `config.tile` pixels is held at a time; each sees half the overlap of
    its neighbours, so that blurs do not end at its border.

    Args:
        activations: (K, h, w), from `activation_maps`.
        stride: pixels of the image per pixel of the activations.
        image: (H, W, 3) uint8 at working scale.
        post: what is done.
        classes: the K classes.
        config: tiles.
        device: where to refine.

    Yields:
        (K + 2, rows, W) float32 in [0, 1], consecutive, H rows in all: the classes, background,
        other tissue.
    """
    height, width = image.shape[:2]
    tile, overlap = config.grid()
    for rows in _blocks(height, tile, overlap):
        parts = []
        for columns in _blocks(width, tile, overlap):
            scores = _enlarged(activations, stride, rows, columns)
            pixels = image[rows.low : rows.high, columns.low : columns.high]
            adjusted = adjust(scores, pixels, post.adjust, classes)
            refined = _refined(adjusted, pixels, post, device)
            parts.append(refined[:, rows.kept, columns.kept])
        yield torch.from_numpy(np.concatenate(parts, axis=2))


def _refined(adjusted: Float, image: UInt8, post: SavedPost, device: torch.device) -> Float:
    """Apply the chain to the maps that have something; the others stay 0."""
    present = np.flatnonzero(adjusted.any(axis=(1, 2)))
    if not post.refine or not len(present):
        return adjusted
    out = np.zeros_like(adjusted)
    pixels: npt.NDArray[Any] = image
    refined: npt.NDArray[Any] = refine(pixels, adjusted[present], post.refine, device)
    out[present] = refined
    return out


class _Block:
    """A stretch [start, stop) of one side, and what is seen around it, [low, high)."""

    def __init__(self, start: int, stop: int, length: int, halo: int) -> None:
        self.low, self.high = max(0, start - halo), min(length, stop + halo)
        self.kept = slice(start - self.low, stop - self.low)


def _blocks(length: int, tile: int, overlap: int) -> list[_Block]:
    if length <= tile:
        return [_Block(0, length, length, 0)]
    starts = [*range(0, length, tile - overlap), length]
    return [_Block(a, b, length, overlap // 2) for a, b in pairwise(starts)]


def _enlarged(activations: Tensor, stride: int, rows: _Block, columns: _Block) -> Float:
    """The part of the activations that a block sees, bilinear at the size of the image."""
    # One more cell on each side holds all that interpolation reaches for.
    cut, inner = [], []
    for block, length in zip((rows, columns), activations.shape[1:], strict=True):
        first, last = max(0, block.low // stride - 1), min(length, -(-block.high // stride) + 1)
        cut.append(slice(first, last))
        inner.append(slice(block.low - first * stride, block.high - first * stride))
    coarse = activations[:, cut[0], cut[1]]
    size = (coarse.shape[1], coarse.shape[2])
    full = (size[0] * stride, size[1] * stride)
    enlarged = torch.cat(list(resize_bands([coarse], size, full)), dim=1)
    found: Float = enlarged[:, inner[0], inner[1]].numpy()
    return found


def class_indices(post: PostConfig, classes: ClassSet) -> npt.NDArray[np.uint8]:
    """Mask value of each of the K + 2 maps of `adjusted_bands`."""
    other = post.adjust.other
    named = IGNORE_INDEX if other is None or other.name is None else classes.names.index(other.name)
    return np.array([*range(len(classes)), classes.white_index, named], np.uint8)


def may_appear(present: npt.NDArray[np.bool_], values: UInt8) -> npt.NDArray[np.bool_]:
    """Which of the maps of `adjusted_bands` may win where labels or a gate name the classes.

    Background is no matter of labels; other tissue is where it stands for a class of the data set.

    Args:
        present: (K, ...) bool, the classes that may appear.
        values: (K + 2,) from `class_indices`.

    Returns:
        (K + 2, ...) bool.
    """
    always = np.ones_like(present[:1])
    other = always if values[-1] == IGNORE_INDEX else present[values[-1]][None]
    return np.concatenate([present, always, other])


def class_probs(adjusted: Tensor, post: PostConfig, classes: ClassSet) -> Tensor:
    """Shares of the classes in adjusted maps.

    Args:
        adjusted: (K + 2, ...), from `adjusted_bands`.
        post: says what background and other tissue stand for.
        classes: the K classes.

    Returns:
        (K, ...), sums to 1 over K; equal where no class has anything.
    """
    n_classes = len(classes)
    found = adjusted[:n_classes].clone()
    for place, value in enumerate(class_indices(post, classes)[-EXTRAS:].tolist()):
        if value != IGNORE_INDEX:
            found[value] += adjusted[n_classes + place]
    total = found.sum(dim=0)
    return torch.where(total > 0, found / total.clamp(min=1e-12), 1 / n_classes)
