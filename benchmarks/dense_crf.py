"""How much faster the dense CRF is within a window than between all pairs, and how far off.

    python benchmarks/dense_crf.py [--size 96] [--batch 8]

The straightforward way: the N x N matrices of both kernels, multiplied in every iteration. Here:
pairs further apart than three standard deviations do not speak, and each pair is computed once.
Same picture, same settings, times of the processor. Then pictures of 224 x 224 px per second, for
the presets as they are and with every fourth neighbour only.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from histoweak.data.phantom import Layout, PatientStyle, render_field
from histoweak.refine.crf_config import BilateralConfig, CrfConfig, GaussianConfig
from histoweak.refine.dense_crf import dense_crf, score_unary

CLASSES = 4
LAYOUT = Layout(tissues=(0, 1, 2, 3), bias=(0.0,) * 4, white=-0.5, region=40.0)
TIMED: tuple[dict[str, Any], ...] = (
    {},
    {"preset": "histosegnet"},
    {"preset": "histosegnet", "step": 4},
    {"preset": "wsss-analysis", "step": 4},
    {"preset": "irn", "step": 4},
)


def example(size: int, batch: int) -> tuple[Tensor, Tensor]:
    """Synthetic tissue (B, 3, S, S), and scores (B, K, S, S) that are right but for noise."""
    images, scores = [], []
    for seed in range(batch):
        style = PatientStyle.draw(np.random.SeedSequence(seed))
        image, mask = render_field(size, size, 1.0, seed, style, LAYOUT)
        truth = np.stack([mask == k for k in range(CLASSES)]).astype(np.float32)
        noise = np.random.default_rng(seed).gumbel(0, 1, truth.shape)
        powers = np.exp(truth + noise)
        scores.append(powers / powers.sum(0))
        images.append(image.transpose(2, 0, 1) / 255)
    stacked = (torch.from_numpy(np.stack(v)).float() for v in (images, scores))
    return next(stacked), next(stacked)


def all_pairs(image: Tensor, unary: Tensor, config: CrfConfig) -> Tensor:
    """Mean field on one image (3, H, W) between all pairs of pixels, colours in RGB."""
    near = config.gaussian or GaussianConfig(weight=0)
    like = config.bilateral or BilateralConfig(weight=0)
    height, width = image.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([rows, columns], -1).reshape(-1, 2).float()
    colors = image.reshape(3, -1).T * 255
    features = torch.cat([places / like.sigma, colors / like.color], 1)
    pairs = near.weight * _kernel(places / near.sigma) + like.weight * _kernel(features)
    energy = unary.reshape(len(unary), -1).T
    marginals = (-energy).softmax(1)
    for _ in range(config.iterations):
        marginals = (pairs @ marginals - energy).softmax(1)
    return marginals.T.reshape(unary.shape)


def _kernel(features: Tensor) -> Tensor:
    k = torch.cdist(features, features).square_().div_(-2).exp_()
    root = k.sum(1).rsqrt()
    return k.mul_(root).mul_(root[:, None])


def seconds(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Time of the processor that a call takes, and its result."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def main() -> None:
    """Compare, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    images, scores = example(given.size, 1)
    unary = score_unary(scores)
    for preset in ("histosegnet", "wsss-analysis"):
        config = CrfConfig(preset=preset)
        slow, whole = seconds(lambda c=config: all_pairs(images[0], unary[0], c))  # type: ignore[misc]
        fast, within = seconds(lambda c=config: dense_crf(images, unary, c))  # type: ignore[misc]
        change = (within[0] - whole).abs()
        moved = (within[0].argmax(0) != whole.argmax(0)).float().mean()
        print(
            f"{preset}, {given.size} px: all pairs {slow:.2f} s, window {fast:.2f} s, "
            f"ratio {slow / fast:.1f}; marginals differ by {change.max():.2g} at most, "
            f"{change.mean():.2g} on average; {100 * moved:.2f} % of the labels differ"
        )
    images, scores = example(224, given.batch)
    unary = score_unary(scores)
    for words in TIMED:
        config = CrfConfig.model_validate(words)
        took, _ = seconds(lambda c=config: dense_crf(images, unary, c))  # type: ignore[misc]
        rate = given.batch / took
        print(f"{config.preset}, step {config.step}: {rate:.2f} images of 224 px per second of CPU")


if __name__ == "__main__":
    main()
