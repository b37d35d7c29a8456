"""Class probabilities at several magnifications of one image, averaged.

Small structures are told apart best when they are enlarged, large ones when they fit into a tile.
Each magnification is computed in bands of rows and brought back to the image's size; the bands are
averaged as far as all magnifications have come.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histoweak.data.rescale import rescale_image
from histoweak.inference.resize import resize_bands

UInt8 = npt.NDArray[np.uint8]


def mean_over_scales(
    bands_of: Callable[[UInt8], Iterator[Tensor]], image: UInt8, scales: Sequence[float]
) -> Iterator[Tensor]:
    """Average what a network says of an image at several magnifications.

    Args:
        bands_of: image (h, w, 3) -> bands (K, rows, w), consecutive, h rows in all.
        image: (H, W, 3) uint8.
        scales: magnifications, 1 for the image as it is.

    Yields:
        (K, rows, W), consecutive, H rows in all.
    """
    if tuple(scales) == (1.0,):
        yield from bands_of(image)
        return
    size = (image.shape[0], image.shape[1])
    streams = []
    for scale in scales:
        scaled = rescale_image(image, scale)
        source = (scaled.shape[0], scaled.shape[1])
        streams.append(resize_bands(bands_of(scaled), source, size))
    yield from _mean(streams)


def _mean(streams: Sequence[Iterator[Tensor]]) -> Iterator[Tensor]:
    """Average streams of bands whose heights differ."""
    held = [next(stream) for stream in streams]
    while True:
        for i, stream in enumerate(streams):
            if held[i].shape[1] == 0:
                band = next(stream, None)
                if band is None:
                    return
                held[i] = band
        rows = min(band.shape[1] for band in held)
        if rows:
            yield torch.stack([band[:, :rows] for band in held]).mean(dim=0)
        held = [band[:, rows:] for band in held]
