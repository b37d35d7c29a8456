"""Agreement between two maps of one image: the decoder's and the CAM."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Stop = Literal["none", "cam", "decoder"]


def consistency_loss(
    logits: Tensor, cam: Tensor, *, stop: Stop = "none", allowed: Tensor | None = None
) -> Tensor:
    """Mean absolute difference between the class probabilities of decoder and CAM.

    Fang et al. (HisynSeg, IEEE TMI 2025), the self-supervised consistency on real patches: the
    decoder's logits are resized bilinearly to the CAM, and both pass through a softmax over the
    classes. Zero when the logits are constant in space and equal to the CAM.

    Args:
        logits: (B, K, H, W) of the decoder.
        cam: (B, K, h, w) of the classification head.
        stop: the side that receives no gradient: `cam` makes it the teacher, `decoder` the pupil,
            `none` (published) lets each follow the other.
        allowed: (B, K, h, w) bool, the classes that labels allow; the others get probability 0 on
            both sides. Where none is allowed, all are. None: labels say nothing, as published.

    Returns:
        A scalar in [0, 2 / K].
    """
    small = F.interpolate(logits, cam.shape[-2:], mode="bilinear", align_corners=False)
    if allowed is not None:
        forbidden = ~(allowed | ~allowed.any(dim=1, keepdim=True))
        small = small.masked_fill(forbidden, float("-inf"))
        cam = cam.masked_fill(forbidden, float("-inf"))
    ours, theirs = small.softmax(dim=1), cam.softmax(dim=1)
    if stop == "cam":
        theirs = theirs.detach()
    elif stop == "decoder":
        ours = ours.detach()
    return (ours - theirs).abs().mean()
