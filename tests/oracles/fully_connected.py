"""The dense CRF as its paper writes it: all pairs of pixels, matrices, double precision."""

import numpy as np

from histoweak.refine.crf_config import CrfConfig


def kernel(features: np.ndarray) -> np.ndarray:
    """Symmetrically normalised Gaussian kernel of features (N, F): (N, N)."""
    square = ((features[:, None] - features[None]) ** 2).sum(-1)
    k = np.exp(-square / 2)
    root = 1 / np.sqrt(k.sum(1))
    return root[:, None] * k * root[None]


def pairwise(colors: np.ndarray, config: CrfConfig) -> np.ndarray:
    """Weighted sum of both kernels (N, N) for an image (H, W, C) in units of its colour space."""
    height, width = colors.shape[:2]
    places = np.stack(np.mgrid[:height, :width], -1).reshape(-1, 2).astype(float)
    total = np.zeros((len(places), len(places)))
    if config.gaussian is not None:
        total += config.gaussian.weight * kernel(places / config.gaussian.sigma)
    if config.bilateral is not None:
        own = config.bilateral
        seen = colors.reshape(len(places), -1) / own.color
        total += own.weight * kernel(np.hstack([places / own.sigma, seen]))
    return total


def marginals(colors: np.ndarray, unary: np.ndarray, config: CrfConfig) -> np.ndarray:
    """Mean field (algorithm 1, Potts compatibility) on unary energies (L, H, W)."""
    energy = unary.reshape(len(unary), -1).T.astype(float)
    pairs = pairwise(colors, config)
    q = _softmax(-energy)
    for _ in range(config.iterations):
        q = _softmax(pairs @ q - energy)
    return q.T.reshape(unary.shape)


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
