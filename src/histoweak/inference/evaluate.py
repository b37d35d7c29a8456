"""Score predictions against masks: one confusion matrix per patient, and their sum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.data.images import probe, read_image, read_mask
from histoweak.data.manifest import Record
from histoweak.data.skips import DEFAULT_LIMIT, Skips
from histoweak.errors import ManifestError
from histoweak.inference.config import InferenceConfig
from histoweak.inference.found import output_names
from histoweak.inference.gating import GateRule
from histoweak.inference.model import TissueModel
from histoweak.inference.readahead import read_ahead
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.groups import Grouped, confusions_to_dict
from histoweak.metrics.scores import summary
from histoweak.progress import Progress

UInt8 = npt.NDArray[np.uint8]
Pair = tuple[UInt8, UInt8]


@dataclass(frozen=True)
class Evaluation:
    """Pixels counted on a set of images.

    Args:
        patients: one confusion matrix per patient.
        images: number of images that were scored.
        skipped: images that could not be used, with the reason of each.
    """

    patients: Grouped[ConfusionMatrix]
    images: int
    skipped: tuple[tuple[Path, str], ...]

    @property
    def total(self) -> ConfusionMatrix:
        """The one confusion matrix of all images."""
        return self.patients.total()

    def figures(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain data for JSON: `metrics.scores.summary`, `confusion` and `patients`."""
        return {
            **summary(self.total, names),
            "confusion": self.total.to_dict(),
            "patients": confusions_to_dict(self.patients),
        }


def evaluate_model(
    model: TissueModel,
    records: Sequence[Record],
    *,
    config: InferenceConfig | None = None,
    gate: GateRule | None = None,
    progress: Progress | None = None,
    max_skipped: float = DEFAULT_LIMIT,
    log: Path | None = None,
) -> Evaluation:
    """Label images and score them at their own size; pixels whose truth is 255 do not count.

    Args:
        model: what is scored.
        records: manifest rows with masks, whose class indices are those of the model.
        config: tiles, batch, test-time augmentation.
        gate: which classes may appear in an image.
        progress: where to show progress.
        max_skipped: share of the images that may be unusable, 0 to 1.
        log: CSV file for the reasons if there are more.

    Raises:
        ManifestError: a row without mask, or without label where the gate needs one.
        ImageError: too many images cannot be used.
    """
    config, gate = config or InferenceConfig(), gate or GateRule()
    gate.require_classes(model.classes)
    options: Any = config.model_dump()

    def label(record: Record, image: UInt8) -> UInt8:
        present = gate.present(image, record.mpp, record.labels, **options)
        return model.predict(image, record.mpp, present, **options).array

    n_classes = len(model.classes)
    skips = Skips(len(records), max_skipped, log)
    read = partial(read_pair, n_classes)
    return _evaluate(records, n_classes, read, label, skips, progress)


def evaluate_masks(
    folder: Path,
    records: Sequence[Record],
    n_classes: int,
    *,
    progress: Progress | None = None,
    max_skipped: float = DEFAULT_LIMIT,
    log: Path | None = None,
) -> Evaluation:
    """Score index PNGs that lie in a folder under the names of their images.

    Args:
        folder: holds `<name>.png`, or `masks/<name>.png` as `predict_images` writes them; the name
            is the image's stem unless several of the images share it (see `output_names`).
        records: manifest rows with masks.
        n_classes: K.
        progress: as in `evaluate_model`.
        max_skipped: as in `evaluate_model`; a missing mask counts as unusable.
        log: as in `evaluate_model`.

    Raises:
        ManifestError, ImageError: as in `evaluate_model`.
    """
    folder = folder / "masks" if (folder / "masks").is_dir() else folder
    names = output_names([record.image for record in records])

    def read(record: Record) -> Pair:
        size = probe(record.image).size
        predicted = read_mask(folder / f"{names[record.image]}.png", n_classes, size)
        return predicted, read_mask(_mask(record), n_classes, size)

    skips = Skips(len(records), max_skipped, log)
    return _evaluate(records, n_classes, read, lambda _, predicted: predicted, skips, progress)


def require_masks(records: Sequence[Record], where: Path | None = None) -> None:
    """Refuse rows that nothing can be compared with.

    Raises:
        ManifestError: no row at all, or a row without mask.
    """
    if not records:
        raise ManifestError(
            "no row to score",
            where=where,
            remedy="Choose another split, or assign the rows with `histoweak data split`",
        )
    for record in records:
        _mask(record)


def _evaluate(
    records: Sequence[Record],
    n_classes: int,
    read: Callable[[Record], Pair],
    label: Callable[[Record, UInt8], UInt8],
    skips: Skips,
    progress: Progress | None,
) -> Evaluation:
    require_masks(records)
    patients = Grouped(lambda: ConfusionMatrix(n_classes))
    shown = progress or Progress(quiet=True)
    pairs = shown.track(read_ahead(records, read), len(records), "evaluating")
    for record, reading in pairs:
        with skips.catch(record.image):
            image, truth = reading.result()
            patients[record.patient].update(pred=label(record, image), truth=truth)
    return Evaluation(patients, len(records) - len(skips), tuple(skips.reasons))


def read_pair(n_classes: int, record: Record) -> Pair:
    """Image (H, W, 3) and true mask (H, W) of a manifest row.

    Raises:
        ManifestError: the row has no mask.
        ImageError: one of the two cannot be read, or their sizes differ.
    """
    image = read_image(record.image)
    return image, read_mask(_mask(record), n_classes, (image.shape[0], image.shape[1]))


def _mask(record: Record) -> Path:
    if record.mask is None:
        raise ManifestError(
            f"{record.image.name} has no mask",
            where=f"manifest row {record.row}",
            remedy="Fill the mask column of the rows that are scored, or choose another split",
        )
    return record.mask
