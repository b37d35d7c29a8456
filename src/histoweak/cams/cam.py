"""From class maps to scores in [0, 1].

Zhou et al., "Learning deep features for discriminative localization" (CVPR 2016), equation 2:
`M_c(x, y) = sum_k w_ck f_k(x, y)`.
"""

import torch
from torch import Tensor


def class_maps(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Class activation maps of a linear head.

    Args:
        features: (B, C, h, w), the map that is averaged before the head.
        weight: (K, C) of the linear layer.
        bias: (K,) or None.

    Returns:
        (B, K, h, w); their spatial mean is the head's logits.
    """
    maps = torch.einsum("bchw,kc->bkhw", features, weight)
    return maps if bias is None else maps + bias[:, None, None]


def min_max_scores(maps: Tensor) -> Tensor:
    """Negative evidence cut off, then each class scaled to [0, 1] by its own range in the image.

    Relative to the image: any positive evidence reaches 1 somewhere, be it strong or weak. A
    class without any, or with the same everywhere, scores 0.

    Args:
        maps: (B, K, h, w).
    """
    positive = maps.clamp(min=0)
    low = positive.amin(dim=(2, 3), keepdim=True)
    high = positive.amax(dim=(2, 3), keepdim=True)
    return (positive - low) / (high - low).clamp(min=1e-6)


def peak_scores(maps: Tensor) -> Tensor:
    """Negative evidence cut off, then each class divided by its largest value in the image.

    Relative to the image like `min_max_scores`; evidence that is the same everywhere scores 1
    everywhere. The form of Kim, Han & Kim (AAAI 2021), section 3.2.

    Args:
        maps: (B, K, h, w).
    """
    positive = maps.clamp(min=0)
    return positive / (positive.amax(dim=(2, 3), keepdim=True) + 1e-5)


def joint_scores(maps: Tensor) -> Tensor:
    """All classes scaled to [0, 1] by one range, the least and the greatest value of the image.

    The order of classes at a pixel stays, negative evidence included. Maps that are the same
    everywhere score 0. Han et al. (Medical Image Analysis 2022) scale their Grad-CAMs so.

    Args:
        maps: (B, K, h, w).
    """
    low = maps.amin(dim=(1, 2, 3), keepdim=True)
    span = maps.amax(dim=(1, 2, 3), keepdim=True) - low
    return torch.where(span > 0, (maps - low) / torch.where(span > 0, span, 1), 0)


def posterior_scores(maps: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Posterior of each class at each pixel: softmax over the classes.

    With two classes this is `sigmoid(M_1 - M_0)`, the only combination of softmax-trained maps
    that is defined (they may share any common shift). Absolute: no evidence, no high score.

    Args:
        maps: (B, K, h, w).
        allowed: bool, broadcastable to `maps`; classes that cannot be present get probability 0
            (their map counts as -inf). Where no class is allowed, all are.
    """
    if allowed is None:
        return maps.softmax(dim=1)
    allowed = allowed | ~allowed.any(dim=1, keepdim=True)
    return maps.masked_fill(~allowed, float("-inf")).softmax(dim=1)
