"""Which synthetic images look real (HisynSeg: Fang et al., IEEE TMI 2025, image filter).

A network learns to tell real patches of several classes from synthetic images. What it takes for
real is accepted; or images are drawn from among candidates, each as often as it looks real.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import timm
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from histoweak.config import StrictConfig
from histoweak.errors import ConfigError
from histoweak.nets.normalise import Normalise

CHUNK = 64
"""Images that are judged at once."""

FLOOR = 0.01
"""P(real) that a candidate is drawn with at least: a discriminator that rejects all of them would
otherwise leave the choice to rounding."""

Maker = Callable[[int], tuple[Tensor, Tensor]]
"""n -> images (n, 3, S, S) uint8 and masks (n, S, S) uint8."""


class DiscriminatorConfig(StrictConfig):
    """The network that tells real from synthetic.

    `encoder` is any classifier of timm, from scratch; `width` narrows a ResNet by that factor.
    """

    encoder: str = "resnet18"
    width: float = Field(1.0, gt=0, le=1)


class Discriminator(nn.Module):
    """Images (B, 3, H, W) in [0, 1] to logits (B, 2): synthetic, real.

    Args:
        config: which network.

    Raises:
        ConfigError: timm knows no such network, or it cannot be narrowed.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.normalise = Normalise()
        widths = tuple(max(8, round(c * config.width)) for c in (64, 128, 256, 512))
        options: dict[str, Any] = {} if config.width == 1 else {"channels": widths}
        try:
            self.encoder = timm.create_model(
                config.encoder, pretrained=False, num_classes=2, **options
            )
        except Exception as error:  # timm raises many kinds; each means the same here
            raise ConfigError(
                f"{config.encoder!r} with width {config.width:g}: {error}",
                where="encoder of the discriminator",
                expected="a classifier of timm; width < 1 only for ResNets",
                remedy="For example encoder=resnet18",
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 2)."""
        return cast(Tensor, self.encoder(self.normalise(images)))


def discriminator_loss(network: nn.Module, real: Tensor, synthetic: Tensor) -> dict[str, Tensor]:
    """Cross-entropy over real and synthetic images.

    Args:
        network: a discriminator.
        real: (B, 3, H, W) in [0, 1].
        synthetic: (B', 3, H, W) in [0, 1].

    Returns:
        `loss`, and the `accuracy` on this batch.
    """
    # One pass, so that batch normalisation cannot tell the two apart by their statistics.
    logits = network(torch.cat([synthetic, real]))
    truth = torch.arange(len(logits), device=logits.device) >= len(synthetic)
    loss = F.cross_entropy(logits, truth.long())
    right = (logits.argmax(dim=1) == truth.long()).float().mean()
    return {"loss": loss, "accuracy": right}


def p_real(network: nn.Module, images: Tensor) -> Tensor:
    """How real images look.

    Args:
        network: a discriminator in eval mode, on the device of the images.
        images: (n, 3, H, W), uint8 or float in [0, 1].

    Returns:
        (n,) probabilities.
    """
    judged = []
    with torch.no_grad():
        for start in range(0, len(images), CHUNK):
            part = images[start : start + CHUNK]
            part = part if part.is_floating_point() else part.float() / 255
            judged.append(network(part).softmax(dim=1)[:, 1])
    return torch.cat(judged) if judged else images.new_zeros(0, dtype=torch.float32)


class Chosen(NamedTuple):
    """What a filter lets through.

    `images` (n, 3, S, S) and `masks` (n, S, S) are uint8, `p_real` (n,) is what the discriminator
    thinks of them, and `accepted` () the share of all candidates with P(real) above the threshold.
    """

    images: Tensor
    masks: Tensor
    p_real: Tensor
    accepted: Tensor


def accepted(
    make: Maker, network: nn.Module, n: int, *, threshold: float = 0.5, rounds: int = 8
) -> Chosen:
    """Make images until n of them are taken for real.

    A good discriminator accepts hardly any; after `rounds` times n candidates the batch is filled
    with those that looked most real.

    Args:
        make: makes candidates.
        network: a discriminator in eval mode.
        n: how many are wanted.
        threshold: P(real) above which an image is accepted.
        rounds: batches of n candidates that are made at most.
    """

    # In the order in which they were made, so that the highest scores are not preferred.
    def rank(probabilities: Tensor) -> Tensor:
        return torch.where(probabilities > threshold, 1.0, probabilities)

    return _best(make, network, n, rank, threshold=threshold, rounds=rounds, until=n)


def weighted(
    make: Maker,
    network: nn.Module,
    n: int,
    *,
    generator: torch.Generator,
    threshold: float = 0.5,
    rounds: int = 8,
) -> Chosen:
    """Draw n of `rounds` times n candidates, without replacement, with P(real) as their weight.

    A filter without a threshold: what the discriminator thinks little of is seen seldom, but the
    few images that deceive it are not all that is seen. Weights of the losses instead would cancel
    out of a Dice, and of any mean where a step has one image.

    Efraimidis and Spirakis (Information Processing Letters 2006), algorithm A: each candidate
    waits for an exponential time at the rate of its weight, and the first n are taken.

    Args:
        make: makes candidates.
        network: a discriminator in eval mode.
        n: how many are wanted.
        generator: decides the draw.
        threshold: P(real) above which `accepted` counts a candidate.
        rounds: batches of n candidates that are made.
    """

    def rank(probabilities: Tensor) -> Tensor:
        shape, device = (len(probabilities),), generator.device
        waits = torch.empty(shape, device=device).exponential_(generator=generator)
        return probabilities.clamp(min=FLOOR) / waits.to(probabilities)

    return _best(make, network, n, rank, threshold=threshold, rounds=rounds)


def _best(
    make: Maker,
    network: nn.Module,
    n: int,
    rank: Callable[[Tensor], Tensor],
    *,
    threshold: float,
    rounds: int,
    until: int | None = None,
) -> Chosen:
    """The n candidates of highest rank, of `rounds` batches or until so many were accepted."""
    kept: tuple[Tensor, ...] | None = None
    passed, made = torch.zeros(()), 0
    for _ in range(rounds):
        images, masks = make(n)
        probabilities = p_real(network, images)
        passed = passed.to(probabilities) + (probabilities > threshold).sum()
        made += n
        fresh = (rank(probabilities), images, masks, probabilities)
        pool = fresh if kept is None else tuple(map(torch.cat, zip(kept, fresh, strict=True)))
        best = pool[0].argsort(descending=True, stable=True)[:n]
        kept = tuple(values[best] for values in pool)
        if until is not None and passed >= until:
            break
    assert kept is not None  # noqa: S101 - there is at least one round
    _, images, masks, probabilities = kept
    return Chosen(images, masks, probabilities, passed / made)
