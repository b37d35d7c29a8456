"""What all streaming measures share: one array of sums that grows with no number of images."""

from abc import ABC, abstractmethod
from copy import deepcopy
from typing import Any, Self

import numpy.typing as npt


class Tally(ABC):
    """Sums over images, of a size fixed at the start.

    Scores are functions of `tallies`, so the scores of a patient, of a split or of a bootstrap
    draw are the same functions of other sums of the same arrays.
    """

    tallies: npt.NDArray[Any]
    """The sums; adding those of two sets of images gives those of their union."""

    @abstractmethod
    def settings(self) -> tuple[object, ...]:
        """What must agree for two tallies to be added."""

    def merge(self, other: Self) -> None:
        """Add the sums of `other` to this tally.

        Raises:
            ValueError: the two were made with different settings.
        """
        if self.settings() != other.settings():
            raise ValueError(f"cannot add tallies of {self.settings()} and {other.settings()}")
        self.tallies += other.tallies

    def __add__(self, other: Self) -> Self:
        total = deepcopy(self)
        total.merge(other)
        return total
