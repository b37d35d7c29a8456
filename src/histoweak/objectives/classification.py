"""Losses of the patch classifier."""

import torch.nn.functional as F
from torch import Tensor


def multilabel_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean binary cross entropy over windows and classes.

    Args:
        logits: (N, K).
        labels: (N, K) in {0, 1}.
        weights: (K,) of the classes or (N, 1) of the windows, or None.
    """
    if not len(logits):
        return logits.sum() * 0
    return F.binary_cross_entropy_with_logits(logits, labels, weight=weights)


def single_label_loss(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """Mean softmax cross entropy over windows that carry exactly one class.

    Args:
        logits: (N, K).
        labels: (N, K) in {0, 1}; rows with none or several classes take no part.
        class_weights: (K,) weights, or None.
    """
    single = labels.sum(dim=1) == 1
    if not single.any():
        return logits.sum() * 0
    return F.cross_entropy(logits[single], labels[single].argmax(dim=1), weight=class_weights)


def class_weights(labels: Tensor) -> Tensor:
    """Weights inverse to class frequency, with mean 1.

    Args:
        labels: (N, K) in {0, 1}, every class present at least once.
    """
    frequency = labels.float().mean(dim=0).clamp(min=1e-6)
    weights = 1 / frequency
    return weights / weights.mean()
