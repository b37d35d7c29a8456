"""Scores that walk over the image until a boundary stops them.

Ahn, Cho and Kwak (CVPR 2019), section 4.3, equations 9 and 10: affinities `a_ij` of pixels closer
than a radius, raised to the power beta and scaled so that what arrives at a pixel is a weighted
mean, are the transition matrix T; scores become `T^t x`. The released code squares the dense
N x N matrix; here it is applied to the maps t times, as flows between shifted maps, 34 at radius 5.
Long walks need fewer applications still: see `chebyshev_weights`.
"""

from functools import lru_cache
from math import comb

import torch
from torch import Tensor

from histoweak.refine.paths import Ends, path_maxima

TAIL = 1e-6
"""What the terms may weigh in all that a long walk leaves out."""


class Transition:
    """The matrix T of one or several boundary maps, as one weight per pair.

    Args:
        boundary: (N, h, w) in [0, 1]; everything beyond the map is wall.
        radius: pixels closer than this exchange scores.
        beta: power of the affinities; higher, and weak boundaries stop more.
    """

    def __init__(self, boundary: Tensor, radius: int, beta: float) -> None:
        self.pairs: list[tuple[Ends, Tensor]] = []
        # Every pixel keeps to itself with weight 1. Many small weights are added: 64 bits.
        arriving = torch.ones_like(boundary, dtype=torch.float64)[:, None]
        for ends, highest in path_maxima(boundary, radius):
            weight = (1 - highest).pow(beta)[:, None]
            ends.first(arriving).add_(weight)
            ends.second(arriving).add_(weight)
            self.pairs.append((ends, weight))
        self.scale = (1 / arriving).to(boundary.dtype)

    def __call__(self, scores: Tensor) -> Tensor:
        """One step: every pixel takes the weighted mean of those it exchanges with.

        Computed as what flows between the two pixels of each pair: rounding then leaves constant
        maps as they are and stays small over hundreds of steps, where sums of 69 products drift.

        Args:
            scores: (N, K, h, w).
        """
        moved = torch.zeros_like(scores)
        for ends, weight in self.pairs:
            flow = (ends.second(scores) - ends.first(scores)).mul_(weight)
            ends.first(moved).add_(flow)
            ends.second(moved).sub_(flow)
        return moved.mul_(self.scale).add_(scores)


@torch.no_grad()
def random_walk(
    scores: Tensor,
    boundary: Tensor,
    *,
    radius: int = 5,
    beta: float = 10.0,
    steps: int = 256,
    tolerance: float = 1e-4,
) -> Tensor:
    """Let scores walk.

    Constant maps stay as they are, no value leaves the range of the scores, and maps that sum to 1
    over the classes go on doing so.

    Args:
        scores: (N, K, h, w) float32.
        boundary: (N, h, w) in [0, 1].
        radius: of the pairs, in pixels of the maps.
        beta: power of the affinities.
        steps: t, how often the matrix is applied.
        tolerance: largest difference from the result of all steps that ending early may make.

    Returns:
        (N, K, h, w).
    """
    transition = Transition(boundary, radius, beta)
    terms = chebyshev_weights(steps)
    if len(terms) <= steps:
        return _long_walk(transition, scores, terms)
    for step in range(steps):
        moved = transition(scores)
        # Weighted means cannot make differences grow: this bounds all that the rest would change.
        rest = (steps - 1 - step) * float((moved - scores).abs().max())
        scores = moved
        if rest <= tolerance:
            break
    return scores


@lru_cache
def chebyshev_weights(steps: int) -> tuple[float, ...]:
    """Weights c_k with `x^t = sum_k c_k T_k(x)` on [-1, 1], T_k the Chebyshev polynomials.

    `c_k` is the chance that t fair steps to the left or right end k from where they began, on
    either side. Far ends are unlikely: the k up to about `sqrt(2 t ln(2 / TAIL))` hold all but
    `TAIL` of the weight, 78 steps in place of 256. T is similar to a symmetric matrix and has its
    eigenvalues in [-1, 1], so the terms left out move the scores by no more than that, in the norm
    in which T is symmetric.
    """
    weights = [0.0] * (steps + 1)
    for up in range(steps + 1):
        weights[abs(2 * up - steps)] += comb(steps, up) / 2**steps
    kept = steps + 1
    left_out = weights[-1]
    while kept > 1 and left_out <= TAIL:
        kept -= 1
        left_out += weights[kept - 1]
    return tuple(weights[:kept])


def _long_walk(transition: Transition, scores: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Sum the terms by the recurrence `T_(k+1)(A) x = 2 A T_k(A) x - T_(k-1)(A) x`."""
    before, present = scores, transition(scores)
    total = weights[0] * before + weights[1] * present
    for weight in weights[2:]:
        before, present = present, transition(present).mul_(2).sub_(before)
        if weight > 0:
            total.add_(present, alpha=weight)
    return total
