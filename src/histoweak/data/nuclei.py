"""How much haematoxylin there is, and where."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from histoweak.data import hed

HED_FROM_RGB = np.linalg.inv(np.array(hed.RGB_FROM_HED))


def nuclear_density(
    image: npt.NDArray[np.uint8], sigma: float, white: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float32]:
    """Haematoxylin of an image, smoothed over neighbouring nuclei.

    Ruifrok & Johnston (2001), "Quantification of histochemical staining by color deconvolution".

    Args:
        image: (H, W, 3) uint8.
        sigma: standard deviation of the Gaussian in pixels.
        white: (H, W) bool, where there is no tissue and the density is 0.

    Returns:
        (H, W) in [0, 1]; 1 at the 0.95 quantile of the image and above.
    """
    optical = -np.log(np.maximum(image, 1) / 255)
    amount = (optical @ HED_FROM_RGB[:, 0]).clip(min=0)
    if white is not None:
        amount[white] = 0
    smooth = ndimage.gaussian_filter(amount, sigma)
    top = float(np.quantile(smooth, 0.95))
    return np.asarray((smooth / max(top, 1e-6)).clip(0, 1), np.float32)
