"""Which patches to show: the best, the median and the worst, always the same ones."""

import math
from collections.abc import Sequence


def choose_samples(mious: Sequence[float | None], n: int = 3) -> dict[str, tuple[int, ...]]:
    """Positions of the best, the median and the worst patches, none in two groups.

    Args:
        mious: mean IoU of each patch; patches without one are never chosen. Equal ones keep
            their order, so the choice is the same at every call.
        n: patches in each group; fewer where there are not 3n patches.

    Returns:
        "best" (best first), "median" and "worst" (worst first).
    """
    scored = [(v, i) for i, v in enumerate(mious) if v is not None and math.isfinite(v)]
    order = [i for _, i in sorted(scored, key=lambda item: (-item[0], item[1]))]
    n = min(n, (len(order) + 2) // 3)
    best, worst = order[:n], order[max(n, len(order) - n) :]
    between = order[n : len(order) - len(worst)]
    start = max(0, (len(between) - n) // 2)
    return {
        "best": tuple(best),
        "median": tuple(between[start : start + n]),
        "worst": tuple(reversed(worst)),
    }
