"""What file and folder names of public data sets say: labels, patients, splits, scale."""

import re

from histoweak.data.columns import parse_split
from histoweak.data.layouts.layout import LayoutMismatchError

_LAST_BRACKET = re.compile(r"\[([^\[\]]*)\][^\[\]]*$")
_MPP = re.compile(r"MPP-(\d+\.\d+|\d+)")
_ORDINAL = re.compile(r"^[\d._ -]+")


def label_in_name(stem: str, n_classes: int) -> tuple[int, ...]:
    """Multi-hot label in the last brackets of a name: [1 0 0 1], [1001] or [1, 0, 0, 1].

    Returns:
        K times 0 or 1; () where the name has no brackets.

    Raises:
        LayoutMismatchError: there is something else than K zeros and ones between the brackets.
    """
    found = _LAST_BRACKET.search(stem)
    if found is None:
        return ()
    digits = re.sub(r"[,\s]", "", found[1])
    if len(digits) != n_classes or set(digits) - {"0", "1"}:
        raise LayoutMismatchError(
            f"label [{found[1]}]",
            where=stem,
            expected=f"{n_classes} zeros and ones, one for each class",
            remedy="Correct the name",
        )
    return tuple(int(digit) for digit in digits)


def without_label(stem: str) -> str:
    """A name without its label and the separators in front of it."""
    return _LAST_BRACKET.sub("", stem).rstrip("-_ ")


def tcga_patient(name: str) -> str:
    """Patient of a TCGA barcode: its first three fields, as TCGA-A1-A0SK; '' for other names."""
    fields = name.split("-")
    return "-".join(fields[:3]) if fields[0] == "TCGA" and len(fields) > 2 else ""


def mpp_in_name(name: str) -> float | None:
    """Microns per pixel from a name that holds, for example, MPP-0.2500."""
    found = _MPP.search(name)
    return float(found[1]) or None if found else None


def split_of_folder(name: str) -> str:
    """Split that a folder name stands for, as train, training or 1.training; '' for others."""
    try:
        return parse_split(_ORDINAL.sub("", name))
    except KeyError:
        return ""
