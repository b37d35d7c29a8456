"""How well a classifier names the classes of labelled patches."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from histoweak.data.images import read_image
from histoweak.data.manifest import Record
from histoweak.errors import ImageError
from histoweak.inference.model import TissueModel
from histoweak.metrics.classification import classification_scores


def label_scores(model: TissueModel, records: Sequence[Record]) -> dict[str, Any]:
    """AUROC, average precision and F1 per class, and their means.

    Args:
        model: a classifier.
        records: labelled patches; unreadable ones are left out.
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
    scores = classification_scores(np.asarray(probs), np.asarray(labels))
    return scores.to_dict(model.classes.names)
