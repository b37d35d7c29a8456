"""Tallies per patient (or per slide, site, ...): memory grows with the groups, not the images."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.tally import Tally

T = TypeVar("T", bound=Tally)


class Grouped(Generic[T]):
    """One tally for each group of images.

    Args:
        make: makes an empty tally, e.g. `lambda: ConfusionMatrix(4)`.

    Example:
        >>> patients = Grouped(lambda: ConfusionMatrix(2))
        >>> patients["p1"].update(np.zeros(3, np.uint8), np.zeros(3, np.uint8))
        >>> patients["p2"].update(np.ones(2, np.uint8), np.zeros(2, np.uint8))
        >>> patients.names, patients.total().matrix.tolist()
        (('p1', 'p2'), [[3, 2], [0, 0]])
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._tallies: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        """The tally of a group, made at its first mention."""
        if name not in self._tallies:
            self._tallies[name] = self._make()
        return self._tallies[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The groups in the order of their names, so that no result depends on reading order."""
        return tuple(sorted(self._tallies))

    def stacked(self) -> npt.NDArray[Any]:
        """(G, ...) the tallies of the groups, in the order of `names`."""
        empty = self._make().tallies
        return np.array([self._tallies[n].tallies for n in self.names]).reshape(-1, *empty.shape)

    def total(self) -> T:
        """The tally of all groups together."""
        total = self._make()
        for name in self.names:
            total.merge(self._tallies[name])
        return total


def confusions_to_dict(groups: Grouped[ConfusionMatrix]) -> dict[str, Any]:
    """Plain data for JSON: group name -> plain data of its confusion matrix."""
    return {name: groups[name].to_dict() for name in groups.names}


def confusions_from_dict(data: Mapping[str, Any]) -> Grouped[ConfusionMatrix]:
    """Read back `confusions_to_dict`.

    Raises:
        ValueError: there is no group, a matrix is malformed, or the groups' classes differ.
        KeyError: an entry is missing.
    """
    if not data:
        raise ValueError("no group: expected one confusion matrix for each patient")
    matrices = {name: ConfusionMatrix.from_dict(entry) for name, entry in data.items()}
    settings = {matrix.settings() for matrix in matrices.values()}
    if len(settings) > 1:
        raise ValueError(f"groups with different (n_classes, ignore_index): {sorted(settings)}")
    n_classes, ignore_index = settings.pop()
    groups = Grouped(lambda: ConfusionMatrix(n_classes, ignore_index))
    for name, matrix in matrices.items():
        groups[name].merge(matrix)
    return groups


def paired(
    a: Grouped[ConfusionMatrix], b: Grouped[ConfusionMatrix]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Counts of two runs over the same groups, for `intervals.paired_test`.

    Returns:
        Two arrays (G, K, K+1), in the order of the groups' names.

    Raises:
        ValueError: the groups, or the true pixels of a group, differ: then the two runs were not
            scored on the same images and a paired test has no meaning.
    """
    if a.names != b.names:
        odd = sorted(set(a.names) ^ set(b.names))
        raise ValueError(f"groups scored in only one of the two runs: {odd}")
    left, right = a.stacked(), b.stacked()
    if left.shape != right.shape:
        raise ValueError(f"the runs have {left.shape[1]} and {right.shape[1]} classes")
    differs = (left.sum(-1) != right.sum(-1)).any(-1)
    if differs.any():
        odd = [name for name, d in zip(a.names, differs, strict=True) if d]
        raise ValueError(f"the two runs were scored on different true pixels of the groups {odd}")
    return left, right
