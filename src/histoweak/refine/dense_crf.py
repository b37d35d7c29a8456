"""Fully connected conditional random field with Gaussian kernels, by mean-field iteration.

Kraehenbuehl & Koltun, "Efficient inference in fully connected CRFs with Gaussian edge potentials"
(NIPS 2011): the energy of equations 1 and 2 with Potts compatibility, minimised by algorithm 1.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from histoweak.refine.colors import colors_of
from histoweak.refine.crf_config import CrfConfig
from histoweak.refine.neighbours import (
    CACHE_BYTES,
    BilateralKernel,
    GaussianKernel,
    kept_bytes,
)
from histoweak.refine.shrinking import enlarge, shrink

LEAST = 1e-5
"""Scores below count as this, so that no class is impossible."""

MOST_PIXELS = 1 << 22
"""Pixels of a batch, shrunk, that are refined at once; larger ones go in bands of rows."""


def score_unary(scores: Tensor) -> Tensor:
    """Unary energy of scores: their negative logarithm.

    Args:
        scores: (B, L, H, W) in [0, 1]; they need not sum to 1 over L.

    Returns:
        (B, L, H, W), 0 to 11.5 nats.
    """
    return -scores.clamp(LEAST, 1).log()


def label_unary(labels: Tensor, n_labels: int, confidence: float) -> Tensor:
    """Unary energy of hard labels that are right with a given probability.

    Args:
        labels: (B, H, W) integers in 0..L-1.
        n_labels: L.
        confidence: in (0, 1); the other labels share what it leaves.

    Returns:
        (B, L, H, W).
    """
    own = F.one_hot(labels.long(), n_labels).movedim(-1, 1).bool()
    other = -math.log((1 - confidence) / max(1, n_labels - 1))
    return torch.where(own, -math.log(confidence), other)


def refine_crf(images: Tensor, scores: Tensor, config: CrfConfig) -> Tensor:
    """Scores after the CRF: the marginals of their classes.

    Args:
        images: (B, 3, H, W) RGB in [0, 1].
        scores: (B, K, H, W) in [0, 1].
        config: everything else.

    Returns:
        (B, K, H, W), sum to 1 over K, or to what `rest` leaves of 1. Pixels for which no class
        scores, such as white background, stay so; and so does a lone class without `rest`, since
        nothing competes with it. With `fill` all classes are alike to such pixels, and the others
        decide; a lone class takes them all.
    """
    labels = scores
    if config.rest is not None:
        labels = torch.cat([scores, torch.full_like(scores[:, :1], config.rest)], dim=1)
    if labels.shape[1] == 1 and not config.fill:
        return scores
    if config.unary == "labels":
        unary = label_unary(labels.argmax(dim=1), labels.shape[1], config.confidence)
    else:
        unary = score_unary(labels)
    marginals = dense_crf(images, unary.to(scores), config)[:, : scores.shape[1]]
    return marginals if config.fill else marginals * (labels.amax(dim=1, keepdim=True) > 0)


def dense_crf(images: Tensor, unary: Tensor, config: CrfConfig) -> Tensor:
    """Infer the labels of all pixels together.

    Args:
        images: (B, 3, H, W) RGB in [0, 1].
        unary: (B, L, H, W) energies, as from `score_unary`; any common shift per pixel cancels.
        config: kernels and iterations; `unary`, `confidence` and `rest` are not read here.

    Returns:
        (B, L, H, W) marginals, sum to 1 over L.
    """
    if len(images) > (group := _group(images, config)):
        pairs = zip(torch.split(images, group), torch.split(unary, group), strict=True)
        return torch.cat([dense_crf(i, u, config) for i, u in pairs])
    height, cell = images.shape[2], config.shrink
    rows = max(cell, MOST_PIXELS * cell // (len(images) * images.shape[3]) * cell)
    if rows >= height:
        return _infer(images, unary, config)
    halo = -(-_reach(config) // cell) * cell
    parts = []
    for top in range(0, height, rows):
        first, last = max(0, top - halo), min(height, top + rows + halo)
        part = _infer(images[:, :, first:last], unary[:, :, first:last], config)
        parts.append(part[:, :, top - first : min(top + rows, height) - first])
    return torch.cat(parts, dim=2)


def _group(images: Tensor, config: CrfConfig) -> int:
    """Images at once: as many as the values of the appearance kernel can be kept of."""
    if config.bilateral is None:
        return len(images)
    size = (-(-images.shape[2] // config.shrink), -(-images.shape[3] // config.shrink))
    sigma = config.bilateral.sigma / config.shrink
    return max(1, int(CACHE_BYTES / kept_bytes(size, sigma, config.window, config.step)))


def _reach(config: CrfConfig) -> int:
    """Rows beyond a band that take part: two windows, after which messages have died away."""
    kernels = (config.gaussian, config.bilateral)
    widest = max((kernel.sigma for kernel in kernels if kernel is not None), default=0.0)
    return math.ceil(2 * config.window * widest)


def _infer(images: Tensor, unary: Tensor, config: CrfConfig) -> Tensor:
    """Algorithm 1 on the shrunk image; its last update on all pixels."""
    small = shrink(unary, config.shrink)
    kernels = _kernels(images, config)
    ones = torch.ones_like(small[:, :1])
    marginals = (-small).softmax(dim=1)
    # What all classes together say to a pixel does not change, for they sum to 1.
    whole = sum((kernel(ones) * weight for kernel, weight in kernels), start=0 * ones)
    message = torch.zeros_like(small)
    for iteration in range(config.iterations):
        message.zero_()
        for kernel, weight in kernels:
            message[:, 1:].add_(kernel(marginals[:, 1:]), alpha=weight)
        message[:, :1] = whole - message[:, 1:].sum(dim=1, keepdim=True)
        if iteration + 1 < config.iterations:
            marginals = (message - small).softmax(dim=1)
    return (enlarge(message, config.shrink, unary) - unary).softmax(dim=1)


def _kernels(
    images: Tensor, config: CrfConfig
) -> list[tuple[GaussianKernel | BilateralKernel, float]]:
    """Kernels on the shrunk image, with their weights."""
    colors = shrink(colors_of(images, config.space, config.blur), config.shrink)
    kernels: list[tuple[GaussianKernel | BilateralKernel, float]] = []
    if (near := config.gaussian) is not None:
        smooth = GaussianKernel(colors, near.sigma / config.shrink, config.window)
        kernels.append((smooth, near.weight))
    if (like := config.bilateral) is not None:
        sigma = like.sigma / config.shrink
        bilateral = BilateralKernel(colors, sigma, like.color, config.window, config.step)
        kernels.append((bilateral, like.weight))
    return kernels
