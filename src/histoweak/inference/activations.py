"""A classifier's maps, scaled window by window to what it believes of each window.

Chan et al., "HistoSegNet" (ICCV 2019), section 3.2. Patches that are classified one by one and
averaged where they overlap are what the published system makes of large images.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from histoweak.cams.gated import gated_activations, passing
from histoweak.classes import ClassSet
from histoweak.inference.config import InferenceConfig
from histoweak.inference.forward import blend_maps
from histoweak.inference.look import look
from histoweak.inference.post_config import SavedPost
from histoweak.inference.tiling import tile_starts, tile_weights
from histoweak.inference.tta import augmented

UInt8 = npt.NDArray[np.uint8]


def activation_maps(
    network: nn.Module,
    strides: tuple[int, ...],
    activate: Callable[[Tensor], Tensor],
    image: UInt8,
    post: SavedPost,
    classes: ClassSet,
    config: InferenceConfig,
) -> Tensor:
    """Activations of an image, blended over windows that were classified one by one.

    Args:
        network: yields class maps.
        strides: its reductions.
        activate: logits (B, K) -> probabilities.
        image: (H, W, 3) uint8 at working scale.
        post: what is done.
        classes: the K classes.
        config: batch and test-time augmentation; its tiles are not those of `post`.

    Returns:
        (K, ceil(H / s), ceil(W / s)) float32 in [0, 1] on the CPU, s = min(strides).
    """
    cells = max(1, round((post.window or post.tile or config.tile) / min(strides)))
    thresholds = torch.tensor(post.thresholds)
    forced = torch.tensor([name in post.forced for name in classes.names])

    def active(tiles: Tensor) -> Tensor:
        images = tiles.float() / 255
        size = tuple(-(-length // min(strides)) for length in images.shape[-2:])
        windows = _Windows(size, min(strides), cells, len(images), images.device)
        maps, logits = look(network, images, windows.boxes)
        probs = activate(logits)
        limits, always = thresholds.to(probs), forced.to(probs.device)
        passes = passing(probs, limits, always, at_least_one=post.at_least_one)
        return windows.blended(
            maps,
            lambda cut, own: gated_activations(
                cut, probs[own], passes[own], peak=post.peak, floor=post.floor
            ),
        )

    tta = config.tta if config.tta != "none" else post.tta
    side = post.tile or config.tile
    tiles = InferenceConfig(tile=side, batch=max(1, config.pixels // side**2))
    fn = augmented(active, tta, config.pixels)
    return blend_maps(fn, network, strides, image, len(classes), tiles).cpu()


class _Windows:
    """Windows over the maps of tiles, sharing a quarter with their neighbours.

    Args:
        size: (h, w) of the maps.
        stride: pixels per cell.
        side: of a window in cells.
        batch: number of tiles, B.
        device: where the maps lie.
    """

    def __init__(
        self, size: tuple[int, ...], stride: int, side: int, batch: int, device: torch.device
    ) -> None:
        self.side, self.batch = side, batch
        self.starts = [tile_starts(length, side, side // 4) for length in size]
        self.weights = [tile_weights(length, side, side // 4).to(device) for length in size]
        tall, wide = (min(side, length) for length in size)
        corners = product(range(batch), *self.starts)
        boxes = [(item, x, y, x + wide, y + tall) for item, y, x in corners]
        self.boxes = torch.tensor(boxes, device=device) * torch.tensor(
            [1.0, *[float(stride)] * 4], device=device
        )

    def blended(self, maps: Tensor, fn: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Apply `fn` to each window of maps (B, K, h, w) and blend the results.

        Args:
            maps: (B, K, h, w).
            fn: (cut (B, K, side, side), places (B,) of its windows in `boxes`) -> the same shape.
        """
        out = torch.zeros_like(maps)
        rows, columns = self.starts
        count = len(rows) * len(columns)
        first = torch.arange(self.batch, device=maps.device) * count
        for number, (i, j) in enumerate(product(range(len(rows)), range(len(columns)))):
            place = (
                ...,
                slice(rows[i], rows[i] + self.side),
                slice(columns[j], columns[j] + self.side),
            )
            weights = self.weights[0][i][:, None] * self.weights[1][j]
            out[place] += fn(maps[place], first + number) * weights
        return out
