"""Colours of images as the refiners compare them."""

from typing import Literal

from torch import Tensor

from histoweak.refine.neighbours import GaussianKernel

Space = Literal["rgb", "od"]


def colors_of(images: Tensor, space: Space, blur: float) -> Tensor:
    """Colours of images after a Gaussian blur.

    Args:
        images: (B, 3, H, W) RGB in [0, 1].
        space: `rgb`, or `od` for the natural optical density.
        blur: standard deviation in pixels, 0 for none.

    Returns:
        (B, 3, H, W) in units of the space: 0 to 255, or optical density 0 to 5.5.
    """
    colors = images * 255 if space == "rgb" else -images.clamp(min=1 / 255).log()
    return GaussianKernel(colors, blur, window=3.0).average(colors) if blur else colors
