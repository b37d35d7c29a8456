"""Passes of a network over one image at working scale, in bands of rows where they are large."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from histoweak.cams.cam import posterior_scores
from histoweak.errors import ConfigError
from histoweak.inference.config import InferenceConfig
from histoweak.inference.look import look
from histoweak.inference.resize import resize_bands
from histoweak.inference.tiling import TileFunction, blend_bands, blend_tiles
from histoweak.inference.tta import (
    ORIENTATIONS,
    UPRIGHT,
    Orientation,
    augmented,
    turned,
    turned_back,
)
from histoweak.nets.pooled import PooledNetwork
from histoweak.objectives.pooling import box_mean

UInt8 = npt.NDArray[np.uint8]

SMALLEST = 32
"""Side in pixels that a classifier is given at least; smaller ones vanish in its pooling."""


@contextmanager
def computing(config: InferenceConfig) -> Iterator[None]:
    """Compute without gradients, and say what to do when the accelerator's memory is too small.

    Raises:
        ConfigError: it is.
    """
    try:
        with torch.inference_mode():
            yield
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"not enough memory for batch {config.batch} of tiles of {config.tile} pixels",
            where="inference options",
            remedy="Lower batch first, then tile; what is finished stays and is not redone",
        ) from error


def segmenter_bands(
    network: nn.Module,
    image: UInt8,
    n_classes: int,
    config: InferenceConfig,
    logits: bool = False,
) -> Iterator[Tensor]:
    """Class probabilities of a segmenter, averaged over tiles and orientations.

    Args:
        network: images (B, 3, h, w) in [0, 1] -> logits (B, K, h, w).
        image: (H, W, 3) uint8.
        n_classes: K.
        config: tiles and test-time augmentation.
        logits: average and yield logits in place of probabilities.

    Yields:
        (K, rows, W) float32 on the network's device, consecutive, H rows in all.
    """
    network.eval()

    def probs(tiles: Tensor) -> Tensor:
        values: Tensor = network(tiles.float() / 255)
        return values if logits else values.softmax(dim=1)

    tile, overlap = config.grid()
    pixels = _tensor(image, network)
    yield from blend_bands(
        augmented(probs, config.tta, config.pixels), pixels, n_classes, tile, overlap, config.batch
    )


def classifier_maps(
    network: nn.Module,
    strides: tuple[int, ...],
    image: UInt8,
    n_classes: int,
    config: InferenceConfig,
) -> Tensor:
    """Class maps of a classifier, averaged over tiles and orientations.

    The border is repeated up to a size that all strides divide, so that a map pixel always stands
    for whole pixels of the image.

    Args:
        network: images (B, 3, h, w) in [0, 1] -> maps (B, K, h / s, w / s), s = min(strides).
        strides: reductions of the encoder.
        image: (H, W, 3) uint8.
        n_classes: K.
        config: tiles and test-time augmentation.

    Returns:
        (K, ceil(H / s), ceil(W / s)) float32 on the network's device.
    """
    return several_maps(network, strides, [image], n_classes, config)[0]


def several_maps(
    network: nn.Module,
    strides: tuple[int, ...],
    images: Sequence[UInt8],
    n_classes: int,
    config: InferenceConfig,
) -> Tensor:
    """`classifier_maps` of images of one size, which share a pass where each fits into a tile.

    Args:
        network: as in `classifier_maps`.
        strides: as in `classifier_maps`.
        images: each (H, W, 3) uint8; `config.at_once` says how many share the memory of a pass.
        n_classes: K.
        config: as in `classifier_maps`.

    Returns:
        (B, K, ceil(H / s), ceil(W / s)) float32 on the network's device.
    """

    def maps(tiles: Tensor) -> Tensor:
        return cast(Tensor, network(tiles.float() / 255))

    fn = augmented(maps, config.tta, config.pixels)
    pixels = [_padded(image, max(strides), network) for image in images]
    if max(pixels[0].shape[1:]) > config.grid(max(strides))[0]:
        args = (network, strides)
        return torch.stack([blend_maps(fn, *args, i, n_classes, config) for i in images])
    network.eval()
    height, width = (-(-side // min(strides)) for side in images[0].shape[:2])
    return fn(torch.stack(pixels))[..., :height, :width]


def blend_maps(
    fn: TileFunction,
    network: nn.Module,
    strides: tuple[int, ...],
    image: UInt8,
    n_out: int,
    config: InferenceConfig,
    orientation: Orientation = UPRIGHT,
) -> Tensor:
    """Apply what a classifier says of tiles to an image, and blend it.

    Args:
        fn: tiles (B, 3, h, w) uint8 -> (B, n_out, h / s, w / s), s = min(strides).
        network: gives the device; is set to evaluation mode.
        strides: as in `classifier_maps`.
        image: (H, W, 3) uint8.
        n_out: maps that `fn` yields.
        config: tiles; its augmentation is left to `fn`.
        orientation: in which the image is tiled.

    Returns:
        (n_out, ceil(H / s), ceil(W / s)) float32 on the network's device, upright.
    """
    network.eval()
    stride, multiple = min(strides), max(strides)
    tile, overlap = config.grid(multiple)
    height, width = image.shape[:2]
    pixels = turned(_padded(image, multiple, network), orientation)
    blended = blend_tiles(fn, pixels, n_out, tile, overlap, config.batch, stride)
    upright = turned_back(blended, orientation)
    return upright[:, : -(-height // stride), : -(-width // stride)]


def window_logits(
    network: PooledNetwork, strides: tuple[int, ...], image: UInt8, boxes: Tensor
) -> Tensor:
    """Logits of windows that the network sees in their surroundings, in one pass.

    Args:
        network: brings its own pooling along.
        strides: as in `classifier_maps`.
        image: (H, W, 3) uint8, small enough for one pass.
        boxes: (N, 4): x0 y0 x1 y1 in pixels.

    Returns:
        (N, K) on the CPU.
    """
    network.eval()
    pixels = _padded(image, max(strides), network)[None].float() / 255
    items = torch.nn.functional.pad(boxes.to(pixels), (1, 0))
    _, logits = look(network, pixels, items)
    return logits.cpu()


def maps_and_logits(
    network: nn.Module,
    strides: tuple[int, ...],
    image: UInt8,
    n_classes: int,
    config: InferenceConfig,
) -> tuple[Tensor, Tensor]:
    """Class maps of an image, and its logits as a whole.

    Logits are the means of the maps. A network that brings its own pooling along pools each tile;
    of the tiles' features the maximum (or mean) goes to its linear layer, once per orientation.

    Args: as in `classifier_maps`.

    Returns:
        The maps as from `classifier_maps`, and (K,) logits; both on the CPU.
    """
    if not isinstance(network, PooledNetwork):
        maps = classifier_maps(network, strides, image, n_classes, config).cpu()
        box = torch.tensor([[0, 0, 0, image.shape[1], image.shape[0]]])
        scale = (1 / min(strides), 1 / min(strides))
        return maps, box_mean(maps[None], box, scale)[0]
    pooled: list[Tensor] = []

    def seen(tiles: Tensor) -> Tensor:
        activations = network.activations(tiles.float() / 255)
        pooled.extend(network.pool(activations))
        return network.maps(activations)

    found = []
    for orientation in ORIENTATIONS[config.tta]:
        pooled.clear()
        maps = blend_maps(seen, network, strides, image, n_classes, config, orientation)
        features = torch.stack(pooled)
        whole = features.amax(dim=0) if network.pooling == "max" else features.mean(dim=0)
        found.append((maps.cpu(), network.logits(whole[None])[0].cpu()))
    return (
        torch.stack([maps for maps, _ in found]).mean(dim=0),
        torch.stack([logits for _, logits in found]).mean(dim=0),
    )


def posterior_bands(maps: Tensor, stride: int, size: tuple[int, int]) -> Iterator[Tensor]:
    """Posterior of class maps, enlarged bilinearly to the image.

    Args: as in `enlarged_bands`.

    Yields:
        (K, rows, W) float32, consecutive, H rows in all.
    """
    for band in enlarged_bands(maps, stride, size):
        yield posterior_scores(band[None])[0]


def enlarged_bands(maps: Tensor, stride: int, size: tuple[int, int]) -> Iterator[Tensor]:
    """Maps enlarged bilinearly to the image.

    Args:
        maps: (K, h, w), from `classifier_maps` or as large.
        stride: pixels of the image per pixel of the maps.
        size: (H, W) of the image, at most `stride` times that of the maps.

    Yields:
        (K, rows, W) float32, consecutive, H rows in all.
    """
    coarse = (maps.shape[1], maps.shape[2])
    full = (coarse[0] * stride, coarse[1] * stride)
    left = size[0]
    for band in resize_bands([maps], coarse, full):
        yield band[:, :left, : size[1]]
        left -= min(left, band.shape[1])


def _tensor(image: UInt8, network: nn.Module) -> Tensor:
    """(3, H, W) uint8 on the device of the network; tiles become float one by one."""
    device = next(network.parameters()).device
    return torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)


def _padded(image: UInt8, multiple: int, network: nn.Module) -> Tensor:
    """`_tensor` of an image whose border is repeated up to a size that the network can divide."""
    down, right = (_missing(length, multiple) for length in image.shape[:2])
    return _tensor(np.pad(image, ((0, down), (0, right), (0, 0)), mode="edge"), network)


def _missing(size: int, multiple: int) -> int:
    """Pixels to add so that a side is a multiple, and not too small for the network."""
    return max(-size % multiple, -(-SMALLEST // multiple) * multiple - size)
