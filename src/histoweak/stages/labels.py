"""How well a classifier names the classes of labelled patches."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.data.images import read_image
from histoweak.data.manifest import Record
from histoweak.errors import ImageError
from histoweak.inference.model import TissueModel
from histoweak.metrics.classification import classification_scores
from histoweak.nets.instances import InstanceNetConfig


def label_scores(model: TissueModel, records: Sequence[Record]) -> dict[str, Any]:
    """AUROC, average precision and F1 per class, and their means.

    Args:
        model: a classifier.
        records: labelled patches; unreadable ones are left out.
    """
    scores = classification_scores(*label_probs(model, records))
    return scores.to_dict(model.classes.names)


def mean_precision(model: TissueModel, records: Sequence[Record]) -> float:
    """Mean average precision over the classes, by which checkpoints of classifiers are chosen.

    A class that is the absence of all others takes no part: of an image the classifier says whether
    any of it lacks the others, a label whether all does.

    Args: as in `label_scores`.
    """
    own = list(range(len(model.classes)))
    if isinstance(model.net, InstanceNetConfig):
        own = model.net.answering(len(model.classes))
    figures = list(label_scores(model, records)["classes"].values())
    return float(np.mean([figures[k]["average_precision"] or 0.0 for k in own]))


def label_probs(
    model: TissueModel, records: Iterable[Record]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """What a classifier gives labelled patches, and what their labels say.

    Args:
        model: a classifier.
        records: rows of a manifest; those without label, and unreadable ones, are left out.

    Returns:
        Probabilities and labels, both (N, K).
    """
    probs, labels = [], []
    for record in records:
        if not record.labels:
            continue
        try:
            image = read_image(record.image)
        except ImageError:
            continue
        probs.append(model.patch_probs(image, record.mpp))
        labels.append(record.labels)
    shape = (-1, len(model.classes))
    return (
        np.asarray(probs, np.float32).reshape(shape),
        np.asarray(labels, np.int64).reshape(shape),
    )
