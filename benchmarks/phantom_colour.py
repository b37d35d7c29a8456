"""How far does colour alone get on the phantom? A per-pixel linear discriminant on RGB.

The discriminant (scikit-learn) is trained with the full masks of the train patients, which no
weakly supervised method sees, and judged on the test patients: one confusion matrix over all
their pixels, white background ignored. A network that sees structure must beat it by 0.20 mIoU,
or else the phantom would be solvable by colour.

    python benchmarks/phantom_colour.py DATA             # a folder of `histoweak data phantom`
    python benchmarks/phantom_colour.py DATA --make 240  # generate it first
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from histoweak.data.images import read_image, read_mask
from histoweak.data.manifest import Manifest, Record
from histoweak.data.phantom import PhantomConfig, write_phantom
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.scores import iou, miou_present
from histoweak.progress import Progress

PIXELS_PER_PATCH = 4000  # taken for training, at random; the fit has no use for more


def pixels(record: Record, n_classes: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """(N, 3) colours and (N,) classes of the pixels of one patch that have a class."""
    if record.mask is None:
        raise SystemExit(f"{record.image} has no mask")
    image, mask = read_image(record.image), read_mask(record.mask, n_classes)
    known = mask < n_classes
    return image[known], mask[known]


def fit(model: LinearDiscriminantAnalysis, manifest: Manifest, seed: int) -> None:
    """Train on the train patients."""
    rng = np.random.default_rng(seed)
    colours, classes = [], []
    for record in manifest.split("train"):
        colour, truth = pixels(record, len(manifest.classes))
        chosen = rng.permutation(len(truth))[:PIXELS_PER_PATCH]
        colours.append(colour[chosen])
        classes.append(truth[chosen])
    model.fit(np.concatenate(colours), np.concatenate(classes))


def judge(
    model: LinearDiscriminantAnalysis, manifest: Manifest, seed: int
) -> npt.NDArray[np.int64]:
    """Counts of `ConfusionMatrix` over the test patients, after training on the train patients."""
    fit(model, manifest, seed)
    confusion = ConfusionMatrix(len(manifest.classes))
    for record in manifest.split("test"):
        colour, truth = pixels(record, len(manifest.classes))
        if truth.size:
            confusion.update(model.predict(colour).astype(np.uint8), truth)
    return confusion.tallies


def main() -> None:
    """Print the dataset-level IoU of each class and their mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with manifest.csv")
    parser.add_argument("--make", type=int, metavar="PATCHES", help="generate the data first")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.make:
        config = PhantomConfig(patches=options.make, seed=options.seed)
        write_phantom(options.data, config, options.workers, Progress())
    manifest = Manifest.read(options.data / "manifest.csv")
    count = len(manifest.classes)
    # With the shares of the classes as priors rare classes are hardly ever chosen; even priors
    # serve the mean IoU better. The higher of the two counts.
    results = {
        "priors as in train": judge(LinearDiscriminantAnalysis(), manifest, options.seed),
        "even priors": judge(
            LinearDiscriminantAnalysis(priors=[1 / count] * count), manifest, options.seed
        ),
    }
    for name, counts in results.items():
        each = ", ".join(
            f"{tissue} {value:.3f}"
            for tissue, value in zip(manifest.classes.names, iou(counts), strict=True)
        )
        print(f"{name}: mIoU {float(miou_present(counts)):.3f} ({each})")
    best = max(float(miou_present(counts)) for counts in results.values())
    print(f"colour alone: mIoU {best:.3f}")


if __name__ == "__main__":
    main()
