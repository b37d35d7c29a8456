"""Grad-CAM at several layers from one forward pass.

Selvaraju et al., "Grad-CAM" (ICCV 2017), equations 1 and 2, without the ReLU, as Han et al.
(Medical Image Analysis 2022) use it for pseudo-masks:

    alpha_kc = mean_ij d logit_k / d F_c(i, j)        G_k = sum_c alpha_kc F_c

All layers lie in one graph, so K backward passes that end at the shallowest layer serve them all,
whatever their number, for the whole batch, and no gradient of a weight is computed.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from histoweak.cams.cam import class_maps

Gradient = Literal["mean", "local"]
"""How gradients weigh features: by their mean over the map (Grad-CAM), or pixel by pixel."""


def grad_cams(
    layers: Sequence[Tensor],
    logits: Tensor,
    gradient: Gradient = "mean",
    head: Tensor | None = None,
) -> list[Tensor]:
    """Grad-CAM of every class at every layer.

    `local` weighs each pixel by its own gradient, `G_k(i, j) = sum_c d logit_k / d F_c(i, j)
    F_c(i, j)`: the part of the logit that the pixel accounts for, to first order.

    Args:
        layers: feature maps (B, C_l, h_l, w_l) of one forward pass, shallow to deep.
        logits: (B, K) of the same pass, one row per item.
        gradient: `mean` or `local`.
        head: (K, C) weights, where each logit is the mean over the last layer of a linear map of
            it (a bias may be added). Its gradient is then known, `w_kc / (h w)` at every pixel,
            and both forms of Grad-CAM are the class maps over `h w`.

    Returns:
        One (B, K, h_l, w_l) per layer, without gradient.
    """
    asked = list(layers if head is None else layers[:-1])
    cams: list[list[Tensor]] = [[] for _ in asked]
    for k in range(logits.shape[1] if asked else 0):
        more = k + 1 < logits.shape[1]
        # Items do not mix in evaluation mode: the sum over the batch gives each its own gradient.
        slopes = torch.autograd.grad(logits[:, k].sum(), asked, retain_graph=more)
        for found, features, slope in zip(cams, asked, slopes, strict=True):
            weights = slope.mean(dim=(2, 3), keepdim=True) if gradient == "mean" else slope
            # One pass over the features instead of a product that is as large as they are.
            spread = weights.expand_as(features)
            found.append(torch.einsum("bchw,bchw->bhw", spread, features.detach()))
    stacked = [torch.stack(found, dim=1) for found in cams]
    if head is not None:
        last = layers[-1].detach()
        stacked.append(class_maps(last, head.detach()) / (last.shape[2] * last.shape[3]))
    return stacked
