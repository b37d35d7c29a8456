"""Input normalisation as part of a network, so that a saved model carries its own."""

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Shift and scale images (B,3,H,W) in [0,1] per channel.

    Args:
        mean: RGB means in [0,1]; by default those that ImageNet weights expect.
        std: RGB standard deviations in [0,1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised images, same shape."""
        return (images - self.mean) / self.std
