"""Networks of class maps whose image-level logits are not the means of those maps.

Where features are pooled by their maximum, no linear layer can be moved in front of the pooling:
the logits need the pooled features. Such a network says what is pooled and how, and everybody who
asks for logits (training, whole images in tiles, patches) pools by that.
"""

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

Pooling = Literal["max", "mean"]


class PooledNetwork(nn.Module, ABC):
    """A network of class maps that brings its own pooling along.

    `forward` returns the maps (B, K, h, w) like that of every network of maps. `pools_maps` says
    that what is pooled are the maps themselves, so that they tell the logits of any window.
    """

    pooling: Pooling
    pools_maps: bool = False

    @abstractmethod
    def activations(self, images: Tensor) -> Tensor:
        """The map (B, C, h, w) that is explained; images (B, 3, H, W) in [0, 1]."""

    @abstractmethod
    def maps(self, activations: Tensor) -> Tensor:
        """Class maps (B, K, h, w) of activations (B, C, h, w)."""

    @abstractmethod
    def pooled_map(self, activations: Tensor) -> Tensor:
        """The map (B, C', h', w') whose cells are pooled, of activations (B, C, h, w)."""

    @abstractmethod
    def logits(self, pooled: Tensor) -> Tensor:
        """Logits (N, K) of pooled features (N, C')."""

    def forward(self, images: Tensor) -> Tensor:
        """Return class maps (B, K, h, w), unbounded; images (B, 3, H, W) in [0, 1]."""
        return self.maps(self.activations(images))

    def pool(self, activations: Tensor) -> Tensor:
        """Features (B, C') of whole images."""
        cells = self.pooled_map(activations)
        return cells.amax(dim=(2, 3)) if self.pooling == "max" else cells.mean(dim=(2, 3))
