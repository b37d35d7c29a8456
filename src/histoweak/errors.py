"""Errors that tell a person what to do next, each with a documented exit code.

Every error names four things: the file (or setting), what is wrong with it, what was expected,
and the remedy. The command line prints the message on one line and leaves with `exit_code`;
the table of codes is in `docs/reference/exit-codes.md`.
"""

from pathlib import Path
from typing import ClassVar


class HistoweakError(Exception):
    """Base of all errors that histoweak raises on purpose.

    Args:
        problem: what is wrong, with the offending value, e.g. `"label is '2'"`.
        remedy: what the user can do, as an imperative sentence.
        where: the file, row or setting concerned, e.g. `"train.csv, row 3, column tumour"`.
        expected: what would have been right, e.g. `"0 or 1"`.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        problem: str,
        *,
        remedy: str,
        where: str | Path | None = None,
        expected: str | None = None,
    ) -> None:
        self.problem, self.remedy, self.where, self.expected = problem, remedy, where, expected
        message = f"{where}: {problem}" if where is not None else problem
        if expected is not None:
            message += f" (expected {expected})"
        super().__init__(f"{message}. {remedy}")


class ConfigError(HistoweakError):
    """A method, recipe, config file or `--set` value is not valid."""

    exit_code = 3


class ManifestError(HistoweakError):
    """The manifest (or the data set it describes) is missing, malformed or contradictory."""

    exit_code = 4


class ImageError(HistoweakError):
    """An image or mask cannot be used, or too many of a data set's images cannot."""

    exit_code = 5


class OutputError(HistoweakError):
    """The output cannot be written: no permission, full disk, or a folder of other data."""

    exit_code = 6


class WeightsError(HistoweakError):
    """A weight file or model folder cannot be loaded or does not fit the network."""

    exit_code = 7


class TrainingError(HistoweakError):
    """Training cannot go on, for example because the loss is not a number."""

    exit_code = 8
