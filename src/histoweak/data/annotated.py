"""Find annotated images: a folder of images beside a folder of masks of the same names."""

from pathlib import Path

from histoweak.data.images import SUFFIXES
from histoweak.data.manifest import Record
from histoweak.errors import ManifestError


def pair_folders(
    images: Path, masks: Path, split: str = "train", mpp: float | None = None
) -> tuple[Record, ...]:
    """Pair every image of a folder with the mask that has its name, whatever the suffix.

    Each image counts as a slide and a patient of its own; a manifest can say more.

    Args:
        images: folder of images (subfolders are not entered).
        masks: folder of index masks.
        split: the split they belong to.
        mpp: microns per pixel of the images, if known.

    Returns:
        Records without labels, in the order of their names.

    Raises:
        ManifestError: no images, two files of one name, or images without a mask.
    """
    image_files, mask_files = _by_stem(images), _by_stem(masks)
    missing = [str(path) for stem, path in image_files.items() if stem not in mask_files]
    if missing:
        raise ManifestError(
            f"{len(missing)} of {len(image_files)} images have no mask, the first: {missing[0]}",
            where=masks,
            expected="a mask of the same name for every image",
            remedy="Add the masks or take the images out of the folder",
        )
    return tuple(
        Record(image=path, mask=mask_files[stem], patient=stem, slide=stem, split=split, mpp=mpp)
        for stem, path in image_files.items()
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"no folder that can be read ({error})", where=folder, remedy="Correct the path"
        ) from error
    found: dict[str, Path] = {}
    for path in files:
        if path.name.startswith("."):
            continue
        if path.stem in found:
            raise ManifestError(
                f"{found[path.stem].name!r} and {path.name!r} have one name",
                where=folder,
                remedy="Keep one of the two",
            )
        found[path.stem] = path
    if not found:
        raise ManifestError(
            "no images",
            where=folder,
            expected=f"files ending in {', '.join(sorted(SUFFIXES))}",
            remedy="Correct the path",
        )
    return found
