"""VGG-like encoders in which batch normalisation follows the activation: conv, ReLU, BN, dropout.

Source: Chan, Hosseini, Rowsell, Plataniotis & Damaskinos, "HistoSegNet" (ICCV 2019), section 3.1
and the network that its authors released: `x1.7` is VGG-16 cut off after its third block. Their
later comparison (Chan, Hosseini & Plataniotis, IJCV 2021) adds a VGG-16 without the last two
poolings and with two convolutions to 1024 channels in place of the fully connected layers.
"""

from pathlib import Path

from torch import Tensor, nn

from histoweak.nets.weights import load_into

POOL = (0, False)
"""Stands for 2x2 max pooling among the layers."""

LAYERS: dict[str, tuple[tuple[int, bool], ...]] = {
    "x1.7": (
        *((64, True), (64, False), POOL),
        *((128, True), (128, False), POOL),
        *((256, True), (256, True), (256, False)),
    ),
    "vgg16_bn": (
        *((64, False), (64, False), POOL),
        *((128, False), (128, False), POOL),
        *((256, False), (256, False), (256, False), POOL),
        *((512, False),) * 6,
        *((1024, True), (1024, True)),
    ),
}
"""Channels and whether dropout follows, layer by layer."""


POOLED = ("x1.7",)
"""These pool once more before their global maximum; the others drop out."""


def own_strides(name: str) -> tuple[int, ...]:
    """Pixels per cell of the encoder's map, and of what is pooled where that differs."""
    stride: int = 2 ** LAYERS[name].count(POOL)
    return (stride, 2 * stride) if name in POOLED else (stride,)


class PostNormEncoder(nn.Module):
    """3x3 convolutions, each followed by ReLU and batch normalisation, up to the last ReLU.

    The normalisation (and dropout or pooling) behind the last ReLU is `after`: what the encoder
    returns lies before it.

    Args:
        name: `x1.7` or `vgg16_bn`.
        width: multiplies every channel count; 1.0 is the published network.
        dropout: rate where the network has dropout.
        weights: None starts from scratch; else a safetensors file with the names of this encoder,
            as `histoweak pretrain` writes it.

    Raises:
        WeightsError: the weights cannot be read or do not fit.
    """

    def __init__(
        self, name: str, width: float = 1.0, dropout: float = 0.0, weights: str | None = None
    ) -> None:
        super().__init__()
        plan = LAYERS[name]
        layers: list[nn.Module] = []
        previous = 3
        for position, (channels, dropped) in enumerate(plan):
            if not channels:
                layers.append(nn.MaxPool2d(2))
                continue
            out = max(8, round(channels * width))
            layers += [nn.Conv2d(previous, out, 3, padding=1), nn.ReLU(inplace=True)]
            if position < len(plan) - 1:
                # Dropout at a rate of 0 keeps its place: weights fit whatever the rate.
                layers += [nn.BatchNorm2d(out), *([nn.Dropout(dropout)] if dropped else [])]
            previous = out
        self.layers = nn.Sequential(*layers)
        self.channels = previous
        self.after: nn.Module = nn.MaxPool2d(2) if name in POOLED else nn.Dropout(dropout)
        if weights is not None:
            load_into(self, Path(weights))

    def forward(self, images: Tensor) -> Tensor:
        """Return the last ReLU's map (B, C, H / stride, W / stride)."""
        found: Tensor = self.layers(images)
        return found
