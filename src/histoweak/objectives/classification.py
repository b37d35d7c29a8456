"""Losses of the patch classifier."""

import torch
import torch.nn.functional as F
from torch import Tensor


def multilabel_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean binary cross entropy over windows and classes.

    Args:
        logits: (N, K).
        labels: (N, K) in {0, 1}.
        weights: (K,) of the classes, or None.
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
    """Weights inverse to class frequency, with mean 1 over the classes that occur.

    A class that never occurs gets 1: what there is to learn of it, that it is nowhere, should not
    outweigh the others.

    Args:
        labels: (N, K) in {0, 1}.

    Returns:
        (K,) float.
    """
    frequency = labels.float().mean(dim=0)
    found = frequency > 0
    weights = torch.ones_like(frequency)
    inverse = 1 / frequency[found]
    weights[found] = inverse / inverse.mean()
    return weights
