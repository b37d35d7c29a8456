"""Maps at a fraction of their size, and back."""

import torch.nn.functional as F
from torch import Tensor


def shrink(values: Tensor, factor: int) -> Tensor:
    """Means of factor x factor pixels of (B, C, H, W), of fewer at the lower and right border."""
    if factor == 1:
        return values
    return F.avg_pool2d(values, factor, ceil_mode=True, count_include_pad=False)


def enlarge(values: Tensor, factor: int, like: Tensor) -> Tensor:
    """What `shrink` made (B, C, h, w), bilinearly at the size of `like` (B, C, H, W) again."""
    if factor == 1:
        return values
    full = F.interpolate(values, scale_factor=factor, mode="bilinear", align_corners=False)
    return full[:, :, : like.shape[2], : like.shape[3]]
