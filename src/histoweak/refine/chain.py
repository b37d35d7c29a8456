"""Refiners one after the other, each `(image, scores) -> scores`."""

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histoweak.refine.config import (
    RefinerConfig,
    SamConfig,
    SuperpixelConfig,
    WalkRefinerConfig,
    WhiteRefinerConfig,
)
from histoweak.refine.crf_config import CrfConfig
from histoweak.refine.dense_crf import refine_crf
from histoweak.refine.edge_walk import refine_walk
from histoweak.refine.superpixels import refine_superpixels
from histoweak.refine.vote import Scores
from histoweak.refine.white import white_mask

UInt8 = npt.NDArray[np.uint8]
Device = torch.device | str


@overload
def refine(
    image: UInt8, scores: Scores, configs: Sequence[RefinerConfig], device: Device = "cpu"
) -> Scores: ...
@overload
def refine(
    image: Tensor, scores: Tensor, configs: Sequence[RefinerConfig], device: Device = "cpu"
) -> Tensor: ...
def refine(
    image: Any, scores: Any, configs: Sequence[RefinerConfig], device: Device = "cpu"
) -> Scores | Tensor:
    """Apply refiners in order.

    Args:
        image: (H, W, 3) uint8 array, or images as tensor (B, 3, H, W) in [0, 1].
        scores: (K, H, W) array or (B, K, H, W) tensor in [0, 1], of the size of the image.
        configs: what to apply; none leaves the scores as they are.
        device: where arrays are computed; tensors stay where they are.

    Returns:
        Scores like those that came in, in [0, 1].

    Raises:
        ValueError: image and scores are of different sizes.
        ConfigError: a refiner needs what is not installed.
        WeightsError: the weights of a refiner cannot be loaded.
    """
    if isinstance(image, Tensor):
        return _refine(image, scores, configs)
    images = torch.from_numpy(image.copy()).to(device).permute(2, 0, 1)[None].float() / 255
    refined = _refine(images, torch.from_numpy(scores).to(device)[None], configs)
    result: Scores = refined[0].cpu().numpy()
    return result


def _refine(images: Tensor, scores: Tensor, configs: Sequence[RefinerConfig]) -> Tensor:
    if images.shape[2:] != scores.shape[2:] or len(images) != len(scores):
        raise ValueError(
            f"images {tuple(images.shape)} and scores {tuple(scores.shape)} do not match"
        )
    with torch.no_grad():
        for config in configs:
            scores = _one(images, scores, config)
    return scores


def _one(images: Tensor, scores: Tensor, config: RefinerConfig) -> Tensor:
    match config:
        case CrfConfig():
            return refine_crf(images, scores, config)
        case SuperpixelConfig():
            return _each(lambda i, s: refine_superpixels(i, s, config), images, scores)
        case WalkRefinerConfig():
            return refine_walk(images, scores, config)
        case WhiteRefinerConfig():
            return _each(lambda i, s: np.where(white_mask(i, config), 0, s), images, scores)
        case SamConfig():
            from histoweak.refine.sam import refine_sam

            device = images.device
            return _each(lambda i, s: refine_sam(i, s, config, device), images, scores)


def _each(fn: Callable[[UInt8, Scores], Scores], images: Tensor, scores: Tensor) -> Tensor:
    """Apply a function of arrays to every image of a batch."""
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    refined = [fn(i, s) for i, s in zip(pixels, scores.cpu().numpy(), strict=True)]
    return torch.from_numpy(np.stack(refined)).to(scores)
