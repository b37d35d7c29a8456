"""What a layout is, what it is asked, and what it finds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from histoweak.classes import ClassSet
from histoweak.data.manifest import Record
from histoweak.errors import ConfigError, ManifestError


class LayoutMismatchError(ManifestError):
    """A folder does not hold what the layout consists of; another layout may fit."""


@dataclass(frozen=True)
class Options:
    """What a user may add to a layout that the files do not say.

    Args:
        classes: names of the classes in the order of their indices.
        values: mask value of each class, in the order of the classes; None means 0, 1, ...
        ignore: mask values that become 255.
        mpp: microns per pixel of images whose layout states none.
        split: split of images whose layout states none; '' leaves them unassigned.
    """

    classes: tuple[str, ...] = ()
    values: tuple[int, ...] | None = None
    ignore: tuple[int, ...] = ()
    mpp: float | None = None
    split: str = ""


@dataclass(frozen=True)
class Found:
    """What a layout found below a folder; nothing has been decoded yet.

    Args:
        classes: the K classes, in the order of their indices.
        records: one per image; `mask` is the mask as distributed, `labels` is () where only the
            mask tells them.
        values: class index (or 255) of every mask value that may occur; None where masks hold
            class indices and 255 already, so that they can stay where they are.
        backgrounds: for some masks a second image of which all pixels other than 0 are ignored.
        notes: what the user should know, one sentence each.
        no_patients: the layout names no patients, so that each image counts as one.
    """

    classes: ClassSet
    records: tuple[Record, ...]
    values: Mapping[int, int] | None = None
    backgrounds: Mapping[Path, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    no_patients: bool = False


@dataclass(frozen=True)
class Layout:
    """One way in which annotated images are distributed.

    Args:
        name: what the command line calls it.
        title: what it is, in a few words.
        looks_like: the files that it consists of.
        where: where the data is to be had.
        terms: under what terms, as far as they are stated.
        find: finds the images below a folder; raises `LayoutMismatchError` where it finds others.
        takes: names of the options that it uses; its files decide all else.
    """

    name: str
    title: str
    looks_like: str
    where: str
    terms: str
    find: Callable[[Path, Options], Found]
    takes: tuple[str, ...] = ()

    def refuse_others(self, options: Options) -> None:
        """Refuse options that the layout would not use.

        Raises:
            ConfigError: naming the first of them.
        """
        for option in fields(options):
            given = getattr(options, option.name) != option.default
            if given and option.name not in self.takes:
                raise ConfigError(
                    f"--{option.name} is of no use",
                    where=self.name,
                    expected=", ".join(f"--{name}" for name in self.takes) or "no such option",
                    remedy="Leave it out: the files of this layout say it themselves",
                )
