"""The classes of a data set: names, colours and the index that is never scored."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoweak.errors import ManifestError

IGNORE_INDEX = 255
"""Mask value of pixels that are neither trained on nor scored (white background, unsure)."""

# Okabe & Ito (2008), "Color Universal Design": stay apart for colour-blind readers.
PALETTE: tuple[tuple[int, int, int], ...] = (
    (213, 94, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (0, 114, 178),
    (230, 159, 0),
    (0, 0, 0),
)

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassSet:
    """An ordered set of K tissue classes; the position of a name is its mask value.

    White background is no class: its pixels carry `IGNORE_INDEX` in masks. A data set that wants
    it scored lists it among the names like any tissue and says so in `white`.

    Args:
        names: K different names, 1 <= K <= 255.
        colors: K RGB triples in 0..255; by default a palette safe for colour-blind readers.
        white: name of the class that stands for white background, if one does.

    Raises:
        ManifestError: no name, repeated names, a colour that is none, or an unknown `white`.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] = ()
    white: str | None = None

    def __post_init__(self) -> None:
        where = "class set"
        if not 1 <= len(self.names) <= IGNORE_INDEX:
            raise ManifestError(
                f"{len(self.names)} classes",
                where=where,
                expected=f"1 to {IGNORE_INDEX}",
                remedy="Name at least one class column",
            )
        if len(set(self.names)) != len(self.names):
            raise ManifestError(
                f"repeated class name in {list(self.names)}",
                where=where,
                remedy="Give each class a name of its own",
            )
        if not self.colors:
            repeated = tuple(PALETTE[i % len(PALETTE)] for i in range(len(self.names)))
            object.__setattr__(self, "colors", repeated)
        valid = all(len(c) == 3 and all(0 <= v <= 255 for v in c) for c in self.colors)
        if len(self.colors) != len(self.names) or not valid:
            raise ManifestError(
                f"colours {list(self.colors)}",
                where=where,
                expected=f"{len(self.names)} RGB triples in 0..255",
                remedy="Correct the colours or leave them out",
            )
        if self.white is not None and self.white not in self.names:
            raise ManifestError(
                f"white class {self.white!r} is not among {list(self.names)}",
                where=where,
                remedy="Name one of the classes, or leave `white` out",
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def white_index(self) -> int:
        """Mask value that white background takes: its class, or `IGNORE_INDEX`."""
        return IGNORE_INDEX if self.white is None else self.names.index(self.white)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` reads it back."""
        return {
            "names": list(self.names),
            "colors": [list(c) for c in self.colors],
            "white": self.white,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ClassSet":
        """Build from the plain data of `to_dict`; `colors` and `white` may be missing.

        Raises:
            TypeError: the data have another shape.
        """
        if not isinstance(data, dict) or not isinstance(data.get("names"), list):
            raise TypeError("no list of names")
        colors = tuple((int(r), int(g), int(b)) for r, g, b in data.get("colors") or ())
        return cls(tuple(str(n) for n in data["names"]), colors, data.get("white"))

    @classmethod
    def read(cls, path: Path) -> "ClassSet":
        """Read a `classes.json` file.

        Raises:
            ManifestError: the file is not such a file.
        """
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise ManifestError(
                f"not a class file ({error})",
                where=path,
                expected='{"names": [...], "colors": [[r, g, b], ...]}',
                remedy="Correct the file or remove it",
            ) from error
