"""The layouts by name."""

import difflib
from pathlib import Path

from histoweak.data.layouts import (
    bcss,
    bcss_wsss,
    camel,
    class_folders,
    glas,
    image_mask,
    luad_histoseg,
    table,
    wsss4luad,
)
from histoweak.data.layouts.layout import Layout, Options
from histoweak.errors import ConfigError, HistoweakError

LAYOUTS: dict[str, Layout] = {
    module.LAYOUT.name: module.LAYOUT
    for module in (
        luad_histoseg, bcss_wsss, wsss4luad, glas, bcss, camel, class_folders, image_mask, table
    )
}  # fmt: skip
"""Special layouts stand before general ones, so that the nearest is found first."""


def find_layout(name: str) -> Layout:
    """Layout of a name, in upper or lower case.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    wanted = name.lower()
    if wanted in LAYOUTS:
        return LAYOUTS[wanted]
    begun = [known for known in LAYOUTS if known.startswith(wanted)]
    close = begun or difflib.get_close_matches(wanted, LAYOUTS, n=1)
    raise ConfigError(
        f"unknown layout {name!r}",
        expected=f"one of {', '.join(LAYOUTS)}",
        remedy=f"Did you mean {close[0]!r}?" if close else "See `histoweak data layouts`",
    )


def nearest_layout(root: Path, but: Layout) -> Layout | None:
    """The first other layout whose files a folder holds, None where none fits."""
    for layout in LAYOUTS.values():
        if layout is but:
            continue
        try:
            layout.find(root, Options())
        except ConfigError:  # its files are there; it only wants to know more
            return layout
        except (HistoweakError, OSError):
            continue
        return layout
    return None
