"""GlaS (Sirinukunwattana et al., Medical Image Analysis 35, 2017) as weakly labelled patches.

The protocol is that of OEEM (Li et al., MICCAI 2022, section 3.1): training images in patches of
112 px at stride 56, a class present from 5 % of the patch on; test images whole.
"""

from pathlib import Path

from histoweak.classes import ClassSet
from histoweak.data.annotated import pair_folders
from histoweak.data.tile import TileConfig, tile_images
from histoweak.errors import ManifestError
from histoweak.progress import Progress

CLASSES = ClassSet(("other", "gland"))
MPP = 0.62
"""Microns per pixel: 20x."""

TEST_FOLDERS = ("testA", "testB")


def prepare_glas(root: Path, out: Path, workers: int = 1, progress: Progress | None = None) -> Path:
    """Make a manifest of GlaS: train in patches, testA (and testB where there is one) whole.

    No patients are public for these images, so that each counts as its own. Images that cannot be
    used are listed in `skipped.csv`.

    Args:
        root: folder with `train` and `testA` (`testB`), each with `images/` and `masks/`
            (0 = other tissue, 1 = gland).
        out: folder to write to; test images stay where they are.
        workers: number of threads.
        progress: shows how far it is.

    Returns:
        Path of the manifest.

    Raises:
        ManifestError: the folders are not there.
        ImageError: too many images cannot be used.
        OutputError: not writable, or the folder holds other tiles.
    """
    tests = [name for name in TEST_FOLDERS if (root / name).is_dir()]
    if not (root / "train").is_dir() or not tests:
        raise ManifestError(
            "is no GlaS folder",
            where=root,
            expected="train and testA or testB, each with images and masks",
            remedy="Give the folder that holds them",
        )
    records = [
        record
        for name, split in (("train", "train"), *((name, "test") for name in tests))
        for record in pair_folders(root / name / "images", root / name / "masks", split, MPP)
    ]
    manifest, _ = tile_images(
        records,
        out,
        CLASSES,
        TileConfig(size=112, stride=56, presence=0.05, mpp=MPP),
        keep_whole=("test",),
        workers=workers,
        progress=progress,
    )
    assert manifest.path is not None  # noqa: S101 - it has just been written
    return manifest.path
