"""Shares and means where there may be nothing to share, and their form in JSON."""

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def ratio(part: npt.ArrayLike, whole: npt.ArrayLike, nothing: float = np.nan) -> FloatArray:
    """`part / whole` element by element, and `nothing` where the whole is not positive.

    Example:
        >>> ratio([1, 0], [2, 0]).tolist()
        [0.5, nan]
    """
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, nothing), where=whole > 0))


def mean_defined(values: FloatArray) -> FloatArray:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    return ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(-1))


def plain(values: npt.ArrayLike) -> Any:
    """A float, or nested lists of them, for JSON; NaN becomes None."""
    if np.ndim(values):
        return [plain(v) for v in np.asarray(values)]
    return None if np.isnan(values) else float(values)  # type: ignore[arg-type]
