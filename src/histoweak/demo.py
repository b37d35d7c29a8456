"""The data of the demonstration: synthetic tissue, or what the user has."""

import os
from dataclasses import dataclass
from pathlib import Path

from histoweak.errors import ManifestError
from histoweak.progress import Progress

PATCHES, PATIENTS, SPLITS = 350, 50, (0.7, 0.1, 0.2)
"""Of synthetic tissue: fewer patches than the benchmark's, so that two cores need less than 5
minutes, of more patients, since from few a network learns their colours, not their tissues."""


@dataclass(frozen=True)
class DemoData:
    """A manifest and the recipe that suits it."""

    manifest: Path
    recipe: str


def demo_data(source: Path | None, out: Path, seed: int) -> DemoData:
    """Prepare the data.

    Args:
        source: None for synthetic tissue, a manifest, or a folder with `train/` and `testA/` of
            the GlaS challenge.
        out: receives `data/`.
        seed: of the synthetic tissue.

    Raises:
        ManifestError: the source is neither.
    """
    workers = os.cpu_count() or 1
    with Progress() as progress:
        if source is None:
            from histoweak.data.phantom import PhantomConfig, write_phantom

            config = PhantomConfig(patches=PATCHES, patients=PATIENTS, splits=SPLITS, seed=seed)
            return DemoData(write_phantom(out / "data", config, workers, progress), "phantom-cpu")
        if source.is_file():
            return DemoData(source, "default")
        if (source / "train").is_dir() and (source / "testA").is_dir():
            from histoweak.data.glas import prepare_glas

            return DemoData(prepare_glas(source, out / "data", workers, progress), "glas-cpu")
    raise ManifestError(
        "is neither a manifest nor a GlaS folder",
        where=source,
        expected="a .csv or .parquet file, or a folder with train/ and testA/",
        remedy="Make a manifest with `histoweak data tile`, or leave DATA out for synthetic tissue",
    )
