"""Confidence intervals and paired tests whose unit is the patient (or another named group).

Patches of one patient are alike, so that intervals over patches come out far too narrow: what is
drawn anew here is always the whole group. Statistics are functions of summed tallies with leading
axes (`scores.miou_present`, `histogram.auroc`, ...), so all draws are scored in a few calls.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.metrics.ratio import FloatArray, plain

Statistic = Callable[[FloatArray], FloatArray]
"""Takes summed tallies (..., *shape of one tally) and returns scores (...) or (..., K)."""

BLOCK = 1 << 22
"""Numbers held at once while drawing (32 MB), whatever the size of a tally."""


@dataclass(frozen=True)
class Interval:
    """A score with its bootstrap percentile interval; each of shape () or (K,)."""

    estimate: FloatArray
    low: FloatArray
    high: FloatArray

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what has no meaning is None."""
        return {name: plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class PairedTest:
    """Score of a minus score of b, its interval, and the p-value of "a and b do not differ"."""

    difference: Interval
    p_value: FloatArray

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what has no meaning is None."""
        return self.difference.to_dict() | {"p_value": plain(self.p_value)}


def bootstrap(
    tallies: npt.NDArray[Any],
    statistic: Statistic,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a score over groups drawn with replacement.

    Args:
        tallies: (G, ...) one tally per group, e.g. `Grouped.stacked()`.
        statistic: score of summed tallies.
        draws: bootstrap samples of G groups each.
        level: coverage, between 0 and 1.
        seed: decides the draws.

    Returns:
        The score of all groups together and its interval. Draws without a meaningful score (a
        class that none of the drawn patients has) are left out. With fewer than two groups the
        bounds are NaN: one patient says nothing about the spread between patients.

    Raises:
        ValueError: there is no group, or `draws` or `level` is out of range.

    Source: Efron and Tibshirani, "An introduction to the bootstrap" (1993), section 13.3.
    """
    tallies = _checked(tallies, draws, level)
    estimate = np.asarray(statistic(tallies.sum(0)), np.float64)
    samples = _over_draws(_resamples(len(tallies), draws, seed), tallies, statistic)
    return _interval(estimate, samples, level, len(tallies))


def bootstrap_items(
    groups: Sequence[str],
    statistic: Callable[[npt.NDArray[np.intp]], FloatArray],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of `bootstrap` for a score that needs the single items, not sums of tallies.

    Args:
        groups: the group of each of N items, e.g. the patient of each patch.
        statistic: score of the items at the given positions, an array of indices that repeats
            items of groups drawn more than once; it returns shape () or (K,).
        draws: bootstrap samples; `statistic` is called once for each.
        level: coverage, between 0 and 1.
        seed: decides the draws.

    Raises:
        ValueError: there is no item, or `draws` or `level` is out of range.
    """
    names, which = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    members = [np.flatnonzero(which == g) for g in range(len(names))]
    _checked(np.zeros((len(names), 1)), draws, level)
    estimate = np.asarray(statistic(np.arange(len(which))), np.float64)
    samples = np.array(
        [
            statistic(np.concatenate([np.tile(m, n) for m, n in zip(members, times, strict=True)]))
            for times in _resamples(len(names), draws, seed)
        ]
    )
    return _interval(estimate, samples, level, len(names))


def paired_test(
    a: npt.NDArray[Any],
    b: npt.NDArray[Any],
    statistic: Statistic,
    *,
    draws: int = 9999,
    level: float = 0.95,
    seed: int = 0,
) -> PairedTest:
    """Compare two runs scored on the same groups.

    The interval resamples the groups, the same draw for both runs. The p-value is that of the
    two-sided sign-flip permutation test: were the runs exchangeable, swapping a and b within any
    set of groups would change nothing. All 2^G swaps are tried when they are no more than
    `draws`; else `draws` random ones, with one added to both counts (Phipson and Smyth 2010).

    Args:
        a: (G, ...) tallies of the first run; `groups.paired` gives both in one order.
        b: (G, ...) tallies of the second run.
        statistic: score of summed tallies.
        draws: bootstrap samples, and bound on the number of swaps.
        level: coverage of the interval, between 0 and 1.
        seed: decides the draws and swaps.

    Returns:
        Difference a - b with its interval, and the p-value. With G groups it cannot fall below
        2 / 2^G: five patients can never show a difference at 0.05.

    Raises:
        ValueError: shapes differ, there is no group, or `draws` or `level` is out of range.
    """
    if a.shape != b.shape:
        raise ValueError(f"tallies have shapes {a.shape} and {b.shape}, expected the same")
    a, b = _checked(a, draws, level), _checked(b, draws, level)

    def difference(pairs: FloatArray) -> FloatArray:
        # The axis of the two runs stands just before those of one tally.
        first, second = np.moveaxis(pairs, -a.ndim, 0)
        return np.asarray(statistic(first) - statistic(second))

    pairs = np.stack([a, b], 1)
    found = bootstrap(pairs, difference, draws=draws, level=level, seed=seed)
    swaps, exact = _swaps(len(a), draws, seed)
    # Swapping group g moves b_g - a_g into the first sum and the opposite into the second.
    moved = _over_draws(
        swaps, np.stack([b - a, a - b], 1), lambda sums: difference(pairs.sum(0) + sums)
    )
    tolerance = 1e-12  # equal differences may differ in the last bits, by the order of summing
    extreme = (np.abs(moved) >= np.abs(found.estimate) - tolerance).sum(0)
    defined = (~np.isnan(moved)).sum(0)
    p = extreme / np.maximum(defined, 1) if exact else (extreme + 1) / (defined + 1)
    return PairedTest(found, np.where(np.isnan(found.estimate), np.nan, p))


def _checked(tallies: npt.NDArray[Any], draws: int, level: float) -> FloatArray:
    if tallies.ndim == 0 or len(tallies) == 0:
        raise ValueError("no group to draw from: expected tallies of shape (G, ...), G >= 1")
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws is {draws} and level {level}, expected draws >= 1, 0 < level < 1")
    return np.asarray(tallies, np.float64)


def _resamples(groups: int, draws: int, seed: int) -> npt.NDArray[np.int64]:
    """(draws, groups) how often each group is drawn; rows sum to `groups`."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0)))
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=draws)


def _swaps(groups: int, draws: int, seed: int) -> tuple[npt.NDArray[np.int64], bool]:
    """(N, groups) 0/1, and whether they are all there are."""
    if groups < 63 and 2**groups <= draws:
        return (np.arange(2**groups)[:, None] >> np.arange(groups)) & 1, True
    rng = np.random.default_rng(np.random.SeedSequence((seed, 1)))
    return rng.integers(0, 2, (draws, groups)), False


def _over_draws(
    weights: npt.NDArray[np.int64], tallies: FloatArray, statistic: Statistic
) -> FloatArray:
    """Scores (N, ...) of the N weighted sums of the groups' tallies."""
    flat = tallies.reshape(len(tallies), -1)
    block = max(1, BLOCK // max(1, flat.shape[1]))
    scores = []
    for start in range(0, len(weights), block):
        sums = weights[start : start + block].astype(np.float64) @ flat
        scores.append(statistic(sums.reshape(-1, *tallies.shape[1:])))
    return np.concatenate(scores)


def _interval(estimate: FloatArray, samples: FloatArray, level: float, groups: int) -> Interval:
    nothing = np.full(estimate.shape, np.nan)
    if groups < 2:
        return Interval(estimate, nothing, nothing)
    tails = [(1 - level) / 2, (1 + level) / 2]
    # Columns without one defined draw would make nanquantile warn; their bounds stay NaN.
    defined = ~np.isnan(samples).all(0)
    filled = np.where(defined, samples, 0.0)
    low, high = np.nanquantile(filled, tails, axis=0)
    return Interval(estimate, np.where(defined, low, nothing), np.where(defined, high, nothing))
