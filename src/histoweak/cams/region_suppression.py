"""Discriminative region suppression: no pixel of a channel may exceed a share of its peak.

Kim, Han & Kim, "Discriminative Region Suppression for Weakly-Supervised Semantic Segmentation"
(AAAI 2021, arXiv 2103.07246), section 3.1. A classifier looks at the few pixels that tell most;
where those are cut down to `ratio * peak`, the loss has to find its evidence elsewhere too.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def suppress(
    maps: Tensor, control: float | Tensor, quantile: float = 1.0, rectify: bool = True
) -> Tensor:
    """Rectify and clip each channel of each image: `min(relu(x), peak * ratio)`.

    Nothing is cut off the gradient: that of clipped pixels reaches the pixel of the peak and, if
    the ratio is learned, the controller.

    Args:
        maps: (B, C, h, w).
        control: the ratio, above 0, one for all channels; or the controller (C, C), with which it
            is `sigmoid(controller @ mean(relu(x)))`, one for each channel of each image.
        quantile: what of a channel's values is its peak. 1 is the largest value, as published; a
            pen mark or a speck of pigment sets that alone, but not the 0.995 quantile.
        rectify: False leaves negative values as they are, for maps that no ReLU made.

    Returns:
        (B, C, h, w); a fixed ratio of 1 or more at quantile 1 is the ReLU itself.
    """
    if isinstance(control, float) and control >= 1 and quantile >= 1:
        return maps.relu() if rectify else maps
    if torch.is_grad_enabled():
        result: Tensor = _Suppress.apply(maps, control, quantile, rectify)
        return result
    return _forward(maps, control, quantile, rectify)[0]


def _forward(
    maps: Tensor, control: float | Tensor, quantile: float, rectify: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | float]:
    """The clipped maps, and per channel: peak, its pixel, mean and ratio."""
    peak, pixel = _peaks(maps, quantile)
    mean, ratio = peak, control
    if isinstance(control, Tensor):
        mean = maps.relu().mean(dim=(2, 3))
        ratio = (mean @ control.T).sigmoid()
    clipped = maps.clamp(max=(peak * ratio)[:, :, None, None])
    return clipped.relu_() if rectify else clipped, peak, pixel, mean, ratio


def _peaks(maps: Tensor, quantile: float) -> tuple[Tensor, Tensor]:
    """Peak of each channel, at least 0, and the number of its pixel, each (B, C)."""
    height, width = maps.shape[2:]
    if quantile < 1:
        above = height * width - max(1, math.ceil(quantile * height * width))
        values, pixels = maps.flatten(2).topk(above + 1, dim=2)
        return values[:, :, -1].clamp(min=0), pixels[:, :, -1]
    # The strongest row first, then the pixel in it: ten times faster than one search for both.
    peak, row = maps.amax(dim=3).max(dim=2)
    strongest = maps.gather(2, row[:, :, None, None].expand(-1, -1, 1, width))
    return peak.clamp(min=0), row * width + strongest.argmax(dim=3)[:, :, 0]


class _Suppress(torch.autograd.Function):
    """`suppress` with its gradient: keeps its output alone, which the next layer keeps anyway.

    Left to autograd, the rectified maps would be kept beside it.
    """

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, control: float | Tensor, quantile: float, rectify: bool
    ) -> Tensor:
        clipped, peak, pixel, mean, ratio = _forward(maps, control, quantile, rectify)
        learned = (mean, control, ratio) if isinstance(control, Tensor) else ()
        ctx.save_for_backward(clipped, peak, pixel, *learned)
        ctx.ratio, ctx.rectify = ratio, rectify
        return clipped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        clipped, peak, pixel, *learned = ctx.saved_tensors
        ratio = learned[2] if learned else ctx.ratio
        at_bound = clipped >= (peak * ratio)[:, :, None, None]
        grad_maps = torch.where(at_bound, 0, grad)
        grad_bound = grad.sum(dim=(2, 3)) - grad_maps.sum(dim=(2, 3))
        grad_control = None
        if learned:
            mean, control, _ = learned
            grad_ratio = grad_bound * peak * ratio * (1 - ratio)
            grad_control = grad_ratio.T @ mean
            grad_mean = ((grad_ratio @ control) / clipped[0, 0].numel())[:, :, None, None]
            grad_maps += grad_mean if ctx.rectify else grad_mean * (clipped > 0)
        # Where a channel has no positive value, its peak is a constant.
        to_peak = (grad_bound * ratio).masked_fill(peak <= 0, 0)
        grad_maps.flatten(2).scatter_add_(2, pixel[:, :, None], to_peak[:, :, None])
        if ctx.rectify:
            grad_maps = torch.ops.aten.threshold_backward(grad_maps, clipped, 0)
        return grad_maps, grad_control, None, None
