"""One confusion matrix over a whole data set, counted in constant memory."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX
from histoweak.metrics.tally import Tally

Counts = npt.NDArray[np.int64]

CHUNK = 1 << 20
"""Pixels counted at once: bounds the working memory at about 10 MB, however large the masks."""


class ConfusionMatrix(Tally):
    """Pixels by true and by predicted class, summed over all masks given to `update`.

    Pixels whose truth is `ignore_index` are not scored at all. Pixels whose truth is a class but
    whose prediction is `ignore_index` are kept apart in `unpredicted`: every score counts them as
    misses of their true class, so that a map cannot gain by staying silent.

    Args:
        n_classes: K, the number of classes, 1 to 255.
        ignore_index: mask value that is no class, K to 255.

    Raises:
        ValueError: `n_classes` or `ignore_index` is out of range.

    Example:
        >>> import numpy as np
        >>> cm = ConfusionMatrix(2)
        >>> truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
        >>> cm.update(pred=np.array([[0, 1, 1, 255, 0]], np.uint8), truth=truth)
        >>> cm.matrix.tolist(), cm.unpredicted.tolist()
        ([[1, 1], [0, 1]], [0, 1])
    """

    def __init__(self, n_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        if not 1 <= n_classes <= 255:
            raise ValueError(f"n_classes is {n_classes}, expected 1 to 255")
        if not n_classes <= ignore_index <= 255:
            raise ValueError(f"ignore_index is {ignore_index}, expected {n_classes} to 255")
        self.n_classes, self.ignore_index = n_classes, ignore_index
        self.tallies: Counts = np.zeros((n_classes, n_classes + 1), np.int64)
        """(K, K+1) pixels; rows: truth; columns: predicted class, the last one `unpredicted`."""

    def settings(self) -> tuple[int, int]:
        """The number of classes and the ignore index."""
        return self.n_classes, self.ignore_index

    @property
    def matrix(self) -> Counts:
        """(K, K) pixels; rows are the truth, columns the prediction."""
        return self.tallies[:, :-1]

    @property
    def unpredicted(self) -> Counts:
        """(K,) pixels of each true class for which the prediction is `ignore_index`."""
        return self.tallies[:, -1]

    def update(self, pred: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> None:
        """Count one mask, or several of them stacked.

        Args:
            pred: predicted class indices or `ignore_index`, uint8, any shape.
            truth: true class indices or `ignore_index`, uint8, the same shape.

        Raises:
            ValueError: shapes differ, a mask is not uint8, or a value is neither a class nor
                `ignore_index`; nothing is counted then.
        """
        if pred.shape != truth.shape:
            raise ValueError(f"prediction has shape {pred.shape}, truth {truth.shape}")
        for name, mask in (("prediction", pred), ("truth", truth)):
            if mask.dtype != np.uint8:
                raise ValueError(f"{name} has dtype {mask.dtype}, expected uint8")
        joint = _joint_histogram(pred.reshape(-1), truth.reshape(-1))
        self._require_known("truth", joint.sum(1))
        self._require_known("prediction", joint.sum(0))
        k = self.n_classes
        self.tallies[:, :k] += joint[:k, :k]
        self.tallies[:, k] += joint[:k, self.ignore_index]

    def _require_known(self, name: str, histogram: Counts) -> None:
        known = np.arange(256) < self.n_classes
        known[self.ignore_index] = True
        unknown = np.flatnonzero((histogram > 0) & ~known)
        if unknown.size:
            raise ValueError(
                f"{name} holds the values {unknown.tolist()}, "
                f"expected 0 to {self.n_classes - 1} or {self.ignore_index}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` reads it back."""
        return {
            "n_classes": self.n_classes,
            "ignore_index": self.ignore_index,
            "matrix": self.matrix.tolist(),
            "unpredicted": self.unpredicted.tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ConfusionMatrix":
        """Build from the plain data of `to_dict`.

        Raises:
            ValueError: the counts do not fit the number of classes, or one is negative.
            KeyError: an entry is missing.
        """
        result = cls(int(data["n_classes"]), int(data["ignore_index"]))
        matrix = np.asarray(data["matrix"], np.int64)
        unpredicted = np.asarray(data["unpredicted"], np.int64)
        k = result.n_classes
        if matrix.shape != (k, k) or unpredicted.shape != (k,):
            raise ValueError(
                f"matrix has shape {matrix.shape} and unpredicted {unpredicted.shape}, "
                f"expected {(k, k)} and {(k,)}"
            )
        result.tallies = np.column_stack([matrix, unpredicted])
        if (result.tallies < 0).any():
            raise ValueError("the confusion matrix holds negative counts")
        return result


def _joint_histogram(pred: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> Counts:
    # Counting all 256 x 256 pairs of values in one pass is faster than first removing the ignored
    # pixels, and it finds the values that are no class at no further cost.
    joint = np.zeros(65536, np.int64)
    for start in range(0, pred.size, CHUNK):
        part = slice(start, start + CHUNK)
        pairs = (truth[part].astype(np.uint16) << 8) | pred[part]
        joint += np.bincount(pairs, minlength=65536)
    return joint.reshape(256, 256)
