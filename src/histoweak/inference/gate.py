"""Gating: classes that are absent from an image cannot win a pixel.

An absent class counts as minus infinity. Multiplying its logit by zero, as some released code
does, lets it win wherever the logits of all present classes are negative.
"""

from typing import Literal

import torch
from torch import Tensor

Gate = Literal["none", "predicted", "truth"]
"""Where the knowledge comes from: nowhere, from a classifier, or from the true patch labels."""


Form = Literal["exclude", "multiply"]
"""What absence means: cut by minus infinity, or logits times zero as some released code has it."""


def close_gate(scores: Tensor, present: Tensor | None, form: Form = "exclude") -> Tensor:
    """Apply a gate in one of its forms.

    Args:
        scores: (K, ...); logits for `multiply`, where another scale would give another result.
        present: (K,) bool, or None for no gate.
        form: `exclude` as in `mask_absent`; `multiply` sets absent classes to 0, also where none
            is present, so that the first class wins everywhere.
    """
    if form == "exclude" or present is None:
        return mask_absent(scores, present)
    return scores * present.to(scores).view(-1, *[1] * (scores.ndim - 1))


def mask_absent(scores: Tensor, present: Tensor | None) -> Tensor:
    """Set the scores of absent classes to minus infinity.

    Args:
        scores: (K, ...) logits, log-probabilities or probabilities.
        present: (K,) bool; where no class is present, and for None, nothing is masked.

    Returns:
        The same shape, for `argmax` or `softmax` over the first axis.
    """
    if present is None or not bool(present.any()):
        return scores
    absent = ~present.to(scores.device).view(-1, *[1] * (scores.ndim - 1))
    return scores.masked_fill(absent, float("-inf"))


def present_classes(patch_probs: Tensor, threshold: float = 0.1) -> Tensor:
    """Classes that a classifier finds in an image, (K,) bool.

    Args:
        patch_probs: (K,) probabilities in [0, 1].
        threshold: a class above it is present (Han et al., Medical Image Analysis 2022).
    """
    return torch.as_tensor(patch_probs > threshold)
