"""Divide groups among parts so that every part has its share of everything.

A greedy start in the manner of iterative stratification (Sechidis et al., ECML PKDD 2011), at
the level of groups, then moves and exchanges of groups for as long as they help.
"""

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

MAX_ROUNDS = 50
RESTARTS = 10
FEW = 100
"""Groups up to which the search starts again `RESTARTS` times."""

MAX_EXCHANGES = 2000
"""Groups beyond which exchanges are not tried: among so many the greedy start is even enough."""


def deviation(counts: Float, shares: Float) -> Float:
    """Sum of squared differences between the parts' shares of each feature and the wanted ones.

    Args:
        counts: (..., P, F), what each of P parts has of each of F features.
        shares: (P,) wanted shares, which add to 1.

    Returns:
        (...), 0 where every part has exactly its share of all features.
    """
    total = counts.sum(axis=-2, keepdims=True)
    return np.asarray(
        ((counts / np.maximum(total, 1e-12) - shares[:, None] * (total > 0)) ** 2).sum((-2, -1))
    )


def divide(
    features: Float, shares: Float, rng: np.random.Generator, complete: int | None = None
) -> Int:
    """Assign each group to a part, keeping `deviation` small; no part stays empty.

    Args:
        features: (G, F), what each group has; G >= P.
        shares: (P,) wanted shares > 0, which add to 1.
        rng: decides between equals.
        complete: a part that must not miss a feature altogether if that can be avoided.

    Returns:
        (G,) part of each group.
    """
    totals = features.sum(axis=0)
    scaled = features / np.where(totals > 0, totals, 1.0)
    # Large groups first: the small ones then fill what is left. Further starts in random order
    # escape the poor local optima that few groups have.
    order = rng.permutation(len(scaled))
    starts = [order[np.argsort(-scaled[order].sum(axis=1), kind="stable")]]
    starts += [rng.permutation(len(scaled)) for _ in range(RESTARTS * (len(scaled) <= FEW))]
    found = [_improve(scaled, shares, _fill(scaled, shares, o), complete) for o in starts]
    costs = [float(_cost(_counts(scaled, parts, len(shares)), shares, complete)) for parts in found]
    return found[int(np.argmin(costs))]


def _fill(scaled: Float, shares: Float, order: Int) -> Int:
    """Give each group in turn to the part that lacks most of what the group has."""
    parts = np.full(len(scaled), -1, dtype=np.int64)
    counts = np.zeros((len(shares), scaled.shape[1]))
    sizes = np.zeros(len(shares), dtype=np.int64)
    for position, group in enumerate(order):
        empty = np.flatnonzero(sizes == 0)
        allowed = empty if len(empty) == len(order) - position else np.arange(len(shares))
        # What is lacking, not the final deviation, decides while most is unassigned.
        lack = shares[allowed, None] - counts[allowed]
        part = allowed[int(np.argmax((lack * scaled[group]).sum(axis=1)))]
        parts[group] = part
        counts[part] += scaled[group]
        sizes[part] += 1
    return parts


def _counts(scaled: Float, parts: Int, n_parts: int) -> Float:
    return np.stack([scaled[parts == p].sum(axis=0) for p in range(n_parts)])


def _improve(scaled: Float, shares: Float, parts: Int, complete: int | None) -> Int:
    counts = _counts(scaled, parts, len(shares))
    cost = float(_cost(counts, shares, complete))
    for _ in range(MAX_ROUNDS):
        before = cost
        for group in range(len(parts)):
            cost = _best_move(scaled, shares, parts, counts, group, cost, complete)
            if len(parts) <= MAX_EXCHANGES:
                cost = _best_exchange(scaled, shares, parts, counts, group, cost, complete)
        if cost >= before - 1e-12:
            break
    return parts


def _cost(counts: Float, shares: Float, complete: int | None) -> Float:
    cost = deviation(counts, shares)
    if complete is not None:
        lacking = (counts[..., complete, :] < 1e-12) & (counts.sum(axis=-2) > 0)
        cost = cost + lacking.sum(axis=-1)
    return cost


def _best_move(
    scaled: Float, shares: Float, parts: Int, counts: Float, group: int, cost: float,
    complete: int | None,
) -> float:  # fmt: skip
    """Move a group where that helps most; changes `parts` and `counts`, returns the new cost."""
    old = int(parts[group])
    if np.count_nonzero(parts == old) == 1:
        return cost
    tried = np.repeat(counts[None], len(shares), axis=0)
    tried[:, old] -= scaled[group]
    tried[np.arange(len(shares)), np.arange(len(shares))] += scaled[group]
    costs = _cost(tried, shares, complete)
    best = int(np.argmin(costs))
    if costs[best] >= cost - 1e-12:
        return cost
    parts[group], counts[:] = best, tried[best]
    return float(costs[best])


def _best_exchange(
    scaled: Float, shares: Float, parts: Int, counts: Float, group: int, cost: float,
    complete: int | None,
) -> float:  # fmt: skip
    """Exchange a group for one of another part where that helps most, as `_best_move`."""
    old = int(parts[group])
    others = np.flatnonzero(parts != old)
    if not others.size:
        return cost
    difference = scaled[others] - scaled[group]
    tried = np.repeat(counts[None], len(others), axis=0)
    tried[:, old] += difference
    tried[np.arange(len(others)), parts[others]] -= difference
    costs = _cost(tried, shares, complete)
    best = int(np.argmin(costs))
    if costs[best] >= cost - 1e-12:
        return cost
    parts[group], parts[others[best]] = parts[others[best]], old
    counts[:] = tried[best]
    return float(costs[best])
