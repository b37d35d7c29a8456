"""Speed of the confusion matrix as a ratio to scikit-learn's, on masks like those of a data set.

Run it with `python benchmarks/confusion.py`. Both count the same pixels in the same run, each is
given its best of several rounds, and both results are compared first.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix

from histoweak.metrics.confusion import ConfusionMatrix

Mask = npt.NDArray[np.uint8]


def blobs(rng: np.random.Generator, size: int, n_classes: int) -> tuple[Mask, Mask]:
    """Truth in cells of 16 pixels with a tenth ignored, and a prediction wrong in a fifth."""
    cells = rng.integers(0, n_classes, (size // 16, size // 16)).astype(np.uint8)
    cells[rng.random(cells.shape) < 0.1] = 255
    truth = np.kron(cells, np.ones((16, 16), np.uint8))
    guess = rng.integers(0, n_classes, truth.shape).astype(np.uint8)
    pred = np.where((truth == 255) | (rng.random(truth.shape) < 0.2), guess, truth)
    return pred, truth


def ours(pred: Mask, truth: Mask, n_classes: int) -> npt.NDArray[np.int64]:
    """Counts by histoweak."""
    cm = ConfusionMatrix(n_classes)
    cm.update(pred, truth)
    return cm.matrix


def theirs(pred: Mask, truth: Mask, n_classes: int) -> npt.NDArray[np.int64]:
    """Counts by scikit-learn, which cannot ignore an index by itself."""
    scored = truth != 255
    labels = list(range(n_classes))
    return np.asarray(confusion_matrix(truth[scored], pred[scored], labels=labels))


def best_of(rounds: int, call: Callable[[], object]) -> float:
    """Least seconds of several calls."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """Print one line for each size of mask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    for size in (224, 1024):
        pred, truth = blobs(np.random.default_rng(0), size, args.classes)
        masks = (pred, truth, args.classes)
        np.testing.assert_array_equal(ours(*masks), theirs(*masks))
        fast = best_of(args.rounds, lambda m=masks: ours(*m))  # type: ignore[misc]
        slow = best_of(args.rounds, lambda m=masks: theirs(*m))  # type: ignore[misc]
        print(
            f"{size} x {size}, {args.classes} classes: {slow / fast:.1f} times as fast as "
            f"scikit-learn ({fast * 1e3:.2f} ms against {slow * 1e3:.2f} ms)"
        )


if __name__ == "__main__":
    main()
