"""Messages between all pairs of pixels within a window: the kernels of the dense CRF.

Nothing is approximated but that pairs further apart than the window do not speak. Released codes
use the permutohedral lattice of Adams et al. (2010), which approximates every pair.

A kernel sums `k(i, j) x_j` over the pixels j around i, itself included, and is normalised
symmetrically, `D^-1/2 k D^-1/2` with `D_i = sum_j k(i, j)`, as the library does that the released
codes call: pixels with many like neighbours weigh no more than others, messages stay symmetric,
and the weight of a kernel keeps its meaning whatever the sigmas.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BAND_VALUES = {"cpu": 1 << 16}
"""Pixels of a batch that are worked on at once: on processors what fits their caches."""
OTHER_BAND_VALUES = 1 << 24
CACHE_BYTES = 1 << 29
"""Kernel values that are kept between iterations; what is larger is computed again each time."""


def kept_bytes(size: tuple[int, int], sigma: float, window: float, step: int) -> float:
    """Bytes of the kernel values of one image (H, W), about: half of the pixels in the window."""
    pixels = size[0] * size[1]
    neighbours = min(pixels, math.pi * (window * sigma) ** 2) / step**2
    return 4 * pixels * neighbours / 2


class GaussianKernel:
    """Normalised smoothness kernel: `k(i, j) = exp(-|p_i - p_j|^2 / (2 sigma^2))` (equation 3).

    Args:
        like: (B, ..., H, W), gives size, type and device.
        sigma: in pixels.
        window: cut off at so many sigmas along each axis.
    """

    def __init__(self, like: Tensor, sigma: float, window: float) -> None:
        height, width = like.shape[-2:]
        self.taps = [_taps(sigma, window, side, like) for side in (height, width)]
        ones = torch.ones(1, 1, height, width, dtype=like.dtype, device=like.device)
        self.norm = self._sum(ones).rsqrt()

    def __call__(self, values: Tensor) -> Tensor:
        """Messages (B, L, H, W) of values (B, L, H, W)."""
        return self._sum(values * self.norm) * self.norm

    def average(self, values: Tensor) -> Tensor:
        """Blurred values (B, L, H, W): weighted means over the pixels around each."""
        return self._sum(values) * self.norm**2

    def _sum(self, values: Tensor) -> Tensor:
        flat = values.reshape(-1, 1, *values.shape[-2:])
        for taps, axis in zip(self.taps, (2, 3), strict=True):
            shape = [1, 1, 1, 1]
            shape[axis] = len(taps)
            flat = F.conv2d(flat, taps.view(shape), padding=[(s - 1) // 2 for s in shape[2:]])
        return flat.view_as(values)


def _taps(sigma: float, window: float, side: int, like: Tensor) -> Tensor:
    radius = min(math.ceil(window * sigma), side - 1)
    offset = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    return (-0.5 * (offset / sigma) ** 2).exp()


@dataclass(frozen=True)
class _Pair:
    """Rows and columns of pixels i and of pixels j; `weight` is what places add to log k."""

    weight: float
    here: tuple[slice, slice]
    there: tuple[slice, slice]


class BilateralKernel:
    """Normalised appearance kernel (equation 3): `exp(-|p_i-p_j|^2/2s^2 - |I_i-I_j|^2/2c^2)`.

    Each pair of pixels is computed once and used in both directions. Memory is that of a few maps,
    and `CACHE_BYTES` of kernel values where all of them fit in.

    Args:
        colors: (B, C, H, W), in any units.
        sigma: standard deviation of places in pixels.
        color: standard deviation of colours.
        window: pairs further apart than so many sigmas do not speak.
        step: only offsets that are multiples of it along both axes; each then stands for its
            step x step neighbours.
    """

    def __init__(
        self, colors: Tensor, sigma: float, color: float, window: float, step: int = 1
    ) -> None:
        self.colors = colors / (color * math.sqrt(2))
        self.pairs = list(self._pairs(sigma, window, step))
        values = sum(colors[:, 0, p.here[0], p.here[1]].numel() for p in self.pairs)
        fits = values * colors.element_size() <= CACHE_BYTES
        self.kept = [self._similarity(pair) for pair in self.pairs] if fits else None
        batch, _, height, width = colors.shape
        ones = torch.ones(batch, 1, height, width, dtype=colors.dtype, device=colors.device)
        self.norm = self._sum(ones).rsqrt()

    def __call__(self, values: Tensor) -> Tensor:
        """Messages (B, L, H, W) of values (B, L, H, W)."""
        return self._sum(values * self.norm) * self.norm

    def _sum(self, values: Tensor) -> Tensor:
        total = values.clone()  # every pixel is its own neighbour, with k = 1
        for number, pair in enumerate(self.pairs):
            k = self.kept[number] if self.kept is not None else self._similarity(pair)
            _part(total, pair.here).addcmul_(k, _part(values, pair.there))
            _part(total, pair.there).addcmul_(k, _part(values, pair.here))
        return total

    def _similarity(self, pair: _Pair) -> Tensor:
        """k(i, j) of all pixels i of a pair, (B, 1, h, w)."""
        difference = _part(self.colors, pair.here) - _part(self.colors, pair.there)
        exponent = difference.square_().sum(1, keepdim=True)
        return exponent.neg_().add_(pair.weight).exp_()

    def _pairs(self, sigma: float, window: float, step: int) -> Iterator[_Pair]:
        """Offsets of half the window, since k(i, j) = k(j, i), for each band of rows."""
        batch, _, height, width = self.colors.shape
        most = BAND_VALUES.get(self.colors.device.type, OTHER_BAND_VALUES)
        rows = max(1, most // (batch * width))
        reach = window * sigma
        tall, wide = (min(int(reach), side - 1) // step for side in (height, width))
        for top in range(0, height, rows):
            for down in range(tall + 1):
                low, high = top, min(top + rows, height - down * step)
                if low >= high:
                    continue
                for right in range(-wide if down else 1, wide + 1):
                    dy, dx = down * step, right * step
                    square = (dy * dy + dx * dx) / sigma**2
                    if square > window**2:
                        continue
                    left, end = max(0, -dx), width - max(0, dx)
                    yield _Pair(
                        weight=2 * math.log(step) - square / 2,
                        here=(slice(low, high), slice(left, end)),
                        there=(slice(low + dy, high + dy), slice(left + dx, end + dx)),
                    )


def _part(values: Tensor, where: tuple[slice, slice]) -> Tensor:
    """View of some rows and columns."""
    return values[:, :, where[0], where[1]]
