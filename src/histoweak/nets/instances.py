"""A classifier of small squares of tissue, and the lattice of squares over an image.

Xu et al. (ICCV 2019), "CAMEL": an image is cut into a lattice of instances, each of which is
classified on its own. Lattices that are shifted against each other overlap, so that a class map
of any finer stride follows from one classifier of instances.
"""

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from histoweak.nets.config import MapsNetConfig
from histoweak.nets.encoders import whole_timm
from histoweak.nets.normalise import Normalise
from histoweak.nets.pooled import PooledNetwork

AT_ONCE = 256
"""Instances that go through the network together, so that large images stay within memory."""


class InstanceNetConfig(MapsNetConfig):
    """The classifier of instances.

    `encoder` is a timm architecture; `side` the height and width of an instance in pixels at
    working scale. In maps, instances follow each other every `strides` pixels (one number): below
    `side` they overlap. `norm` is `group`, which treats every instance on its own, or `batch`.
    `negative` is the index of the class without a logit of its own, null for none; in `camel` it
    follows from the name in `cmil.bags.negative`.
    """

    encoder: str = "resnet18"
    side: int = Field(64, ge=16)
    strides: tuple[int, ...] = Field((32,), min_length=1, max_length=1)
    norm: Literal["group", "batch"] = "group"
    negative: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _even_margins(self) -> Self:
        stride = self.strides[0]
        if stride > self.side or (self.side - stride) % 2:
            raise ValueError(f"side {self.side} must exceed stride {stride} by an even number")
        return self

    def answering(self, n_classes: int) -> list[int]:
        """Indices of those of K classes that have a logit of their own."""
        return [k for k in range(n_classes) if k != self.negative]


class InstanceNet(PooledNetwork):
    """An encoder with one logit per class; an image is what its strongest instance is.

    A negative class is what no other class claims: its probability is 1 - the largest of theirs,
    its logit the largest of theirs with the other sign. With two classes one logit is all there
    is, as in the source.

    Args:
        config: which network.
        n_classes: K.

    Raises:
        ConfigError: timm knows no such architecture.
        WeightsError: the weights cannot be had or do not fit.
    """

    pooling = "max"
    pools_maps = True

    def __init__(self, config: InstanceNetConfig, n_classes: int) -> None:
        super().__init__()
        self.side, self.stride = config.side, config.strides[0]
        self.normalise = Normalise()
        self.encoder = whole_timm(config.encoder, config.weights)
        if config.norm == "group":
            _group_norm(self.encoder, keep=config.weights is not None)
        self.negative, self.answering = config.negative, config.answering(n_classes)
        self.head = nn.Linear(self.encoder.num_features, len(self.answering))

    def classify(self, instances: Tensor) -> Tensor:
        """Return logits (n, K) of instances (n, 3, side, side) in [0, 1]."""
        logits: Tensor = self.head(self.encoder(self.normalise(instances)))
        if self.negative is None:
            return logits
        rest = -logits.amax(dim=1, keepdim=True)
        return torch.cat([logits[:, : self.negative], rest, logits[:, self.negative :]], dim=1)

    def maps(self, activations: Tensor) -> Tensor:
        """The logits of the instances as they are."""
        return activations

    def pooled_map(self, activations: Tensor) -> Tensor:
        """The logits of the instances as they are."""
        return activations

    def logits(self, pooled: Tensor) -> Tensor:
        """The strongest logit of each class as it is."""
        return pooled

    def activations(self, images: Tensor) -> Tensor:
        """Return logits (B, K, H / stride, W / stride) of instances around every stride's centre.

        Beyond the border the image is repeated.

        Args:
            images: (B, 3, H, W) in [0, 1]; H and W are multiples of the stride.
        """
        margin = (self.side - self.stride) // 2
        padded = F.pad(images, (margin,) * 4, mode="replicate")
        squares = padded.unfold(2, self.side, self.stride).unfold(3, self.side, self.stride)
        count, _, rows, columns = squares.shape[:4]
        flat = squares.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, self.side, self.side)
        logits = torch.cat([self.classify(part) for part in torch.split(flat, AT_ONCE)])
        return logits.view(count, rows, columns, -1).permute(0, 3, 1, 2)


def _group_norm(module: nn.Module, *, keep: bool) -> None:
    """Put group normalisation (Wu & He, ECCV 2018) in place of batch normalisation.

    Statistics of the batch would tie the instances of an image together, and differ between the
    pass that chooses instances and the pass that learns from them. `keep` takes over the weight and
    bias of each channel, for encoders that start from weights.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            channels = child.num_features
            groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0)
            norm: nn.Module = nn.GroupNorm(groups, channels)
            if keep:
                norm.load_state_dict({"weight": child.weight, "bias": child.bias})
            # timm fuses the activation with the normalisation in some networks.
            rest = [getattr(child, part) for part in ("drop", "act") if hasattr(child, part)]
            setattr(module, name, nn.Sequential(norm, *rest) if rest else norm)
        else:
            _group_norm(child, keep=keep)
