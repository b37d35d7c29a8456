"""Small data sets without faults, to be damaged one way at a time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from histoweak.classes import ClassSet
from histoweak.data.check import CheckConfig, CheckResult, check_manifest
from histoweak.data.manifest import Manifest, Record

CLASSES = ClassSet(("tumour", "stroma"))
SIZE = 64


def tissue(seed: int, size: int = SIZE) -> np.ndarray:
    """Purple blobs on pink, different for every seed."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.normal(size=(size, size)), 2.0)
    amount = np.clip(blobs / blobs.std() * 0.25 + 0.5, 0, 1)[..., None]
    pink, purple = np.array([225, 150, 190.0]), np.array([110, 60, 140.0])
    noise = rng.normal(0, 3, (size, size, 3))
    return np.clip(pink * (1 - amount) + purple * amount + noise, 0, 255).astype(np.uint8)


def clean(folder: Path, images: int = 30) -> Manifest:
    """Images a0.png, a1.png, ... of ten patients; every third shows both classes."""
    records = []
    for i in range(images):
        mask = np.full((SIZE, SIZE), i % 2, np.uint8)
        if i % 3 == 0:
            mask[:, : SIZE // 2] = 1 - i % 2
        picture, truth = folder / f"a{i}.png", folder / f"m{i}.png"
        Image.fromarray(tissue(i)).save(picture)
        Image.fromarray(mask).save(truth)
        patient = i % 10
        record = Record(
            image=picture,
            labels=tuple(int((mask == k).any()) for k in range(2)),
            mask=truth,
            patient=f"P{patient}",
            slide=f"S{patient}",
            split="train" if patient < 6 else "val" if patient < 8 else "test",
            mpp=0.5,
            row=i + 2,
        )
        records.append(record)
    return Manifest(CLASSES, tuple(records), folder / "manifest.csv")


def altered(manifest: Manifest, position: int, **changes: object) -> Manifest:
    """The manifest with one record changed."""
    records = list(manifest.records)
    records[position] = replace(records[position], **changes)  # type: ignore[arg-type]
    return replace(manifest, records=tuple(records))


def findings(manifest: Manifest, **settings: object) -> dict[str, list[tuple[int, ...]]]:
    """Positions of the images of each case, by code."""
    result = checked(manifest, **settings)
    return {f.code: [item.images for item in f.items] for f in result.findings}


def checked(manifest: Manifest, **settings: object) -> CheckResult:
    return check_manifest(manifest, CheckConfig(**settings))  # type: ignore[arg-type]
