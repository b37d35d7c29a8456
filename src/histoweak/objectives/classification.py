"""Losses of the patch classifier."""

import torch
import torch.nn.functional as F
from torch import Tensor


def multilabel_loss(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean binary cross entropy over windows and classes.

    Args:
        logits: (N, K).
        labels: (N, K) in {0, 1}.
        class_weights: (K,) weights, or None.
    """
    return F.binary_cross_entropy_with_logits(logits, labels, weight=class_weights)


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


def absent_evidence_loss(log_posterior: Tensor, labels: Tensor) -> Tensor:
    """Evidence for absent classes, punished at every pixel of the windows.

    A label that says a class is absent holds for each pixel, so it is a pixel label for free. With
    D the difference of two class maps this is the mean of softplus(D) over negative patches
    (`L_neg`); with K classes, the cross entropy against "one of the present classes".

    Args:
        log_posterior: (N, K): for each window and class, the mean over its pixels of
            `log(1 - q_k)`, q_k the pixel posterior.
        labels: (N, K) in {0, 1}.

    Returns:
        Mean over absent (window, class) pairs; zero where there are none.
    """
    absent = labels == 0
    if not absent.any():
        return log_posterior.sum() * 0
    return -log_posterior[absent].mean()


def class_weights(labels: Tensor) -> Tensor:
    """Weights inverse to class frequency, with mean 1.

    Args:
        labels: (N, K) in {0, 1}, every class present at least once.
    """
    frequency = labels.float().mean(dim=0).clamp(min=1e-6)
    weights = 1 / frequency
    return weights / weights.mean()


def log_absence(maps: Tensor) -> Tensor:
    """`log(1 - q_k)` per pixel for the softmax posterior q of class maps (B, K, h, w).

    Computed as the log of the sum over the other classes, which keeps its precision where q_k
    is close to 1.
    """
    logs = F.log_softmax(maps, dim=1)
    others = [
        torch.logsumexp(torch.cat([logs[:, :k], logs[:, k + 1 :]], dim=1), dim=1)
        for k in range(maps.shape[1])
    ]
    return torch.stack(others, dim=1)
