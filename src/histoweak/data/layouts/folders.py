"""Find the folders and images of a data set, under the names that circulate."""

from collections.abc import Iterable
from pathlib import Path

from histoweak.data.images import SUFFIXES
from histoweak.data.layouts.layout import LayoutMismatchError
from histoweak.data.layouts.names import split_of_folder
from histoweak.errors import ManifestError

IMAGE_FOLDERS = ("img", "imgs", "images", "image")
MASK_FOLDERS = ("mask", "masks")


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, hidden ones left out, in the order of their names.

    Raises:
        ManifestError: it is no folder that can be read.
    """
    return [p for p in _listed(folder) if p.is_dir()]


def images_in(folder: Path) -> list[Path]:
    """Images directly in a folder, in the order of their names.

    Raises:
        ManifestError: it is no folder that can be read.
    """
    return [p for p in _listed(folder) if p.suffix.lower() in SUFFIXES and p.is_file()]


def images_below(folder: Path) -> list[Path]:
    """Images in a folder and all folders below it, links to folders not followed."""
    found = images_in(folder)
    for inner in subfolders(folder):
        if not inner.is_symlink():
            found += images_below(inner)
    return found


def named(folder: Path, names: Iterable[str]) -> Path | None:
    """The first subfolder that has one of the names, in upper or lower case."""
    by_name = {p.name.lower(): p for p in reversed(subfolders(folder))}
    return next((by_name[n.lower()] for n in names if n.lower() in by_name), None)


def homes(root: Path) -> list[Path]:
    """A folder and its subfolders: archives often unpack into one folder more."""
    return [root, *subfolders(root)]


def split_folders(root: Path) -> dict[str, Path]:
    """Folders of train, val and test, by whichever usual name.

    Returns:
        The folder of each split, in the order train, val, test.

    Raises:
        LayoutMismatchError: there is none, or two folders stand for one split.
    """
    for home in homes(root):
        found: dict[str, Path] = {}
        for folder in subfolders(home):
            split = split_of_folder(folder.name)
            if split and split in found:
                raise LayoutMismatchError(
                    f"both {found[split].name!r} and {folder.name!r} stand for {split}",
                    where=home,
                    remedy="Take one of the two out of the folder",
                )
            if split:
                found[split] = folder
        if found:
            return {split: found[split] for split in ("train", "val", "test") if split in found}
    raise LayoutMismatchError(
        "no folder of a split",
        where=root,
        expected="train, val or test (or training, validation, 1.training, ...)",
        remedy="Give the folder that holds them",
    )


def _listed(folder: Path) -> list[Path]:
    """What a folder holds, hidden entries left out, in the order of the names."""
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"no folder that can be read ({error})", where=folder, remedy="Correct the path"
        ) from error
