"""Synthetic images for one training step, made anew each time and judged by the discriminators.

Fang et al. (HisynSeg, IEEE TMI 2025) synthesise until a fixed number of images has passed the
image filter, save them, and train on those. Here every step draws its own: no image is seen twice,
nothing lies on disk, and what a step draws follows from its generator alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from histoweak.config import StrictConfig
from histoweak.synthesis.authenticity import accepted, weighted
from histoweak.synthesis.both import Kind, count_kinds, synthesise_kind
from histoweak.synthesis.cache import PatchCache
from histoweak.synthesis.config import SynthesisConfig


class FilterConfig(StrictConfig):
    """What the discriminators' word is used for.

    `weight`: of `rounds` times as many candidates as are wanted, images are drawn with their
    probability of being real, at least 0.01, as weight. `hard`: only images above `threshold` are
    taken; after `rounds` times as many candidates, the likeliest fill up what is missing. In both,
    the share of candidates above `threshold` is logged.
    """

    mode: Literal["hard", "weight"] = "weight"
    threshold: float = Field(0.5, gt=0, lt=1)
    rounds: int = Field(4, ge=1)


@dataclass(frozen=True)
class Synthetic:
    """Images (n, 3, S, S) uint8 and masks (n, S, S) uint8.

    `figures` are scalars to log where discriminators had their say: `accepted_KIND`, the share of
    candidates with P(real) above the threshold, `passed_KIND`, that share among the images that
    were taken, and `p_real_KIND`, the mean P(real) of these.
    """

    images: Tensor
    masks: Tensor
    figures: Mapping[str, Tensor] = field(default_factory=dict)


class OnlineSynthesis:
    """Draws the synthetic part of a training step.

    Args:
        cache: single-class patches.
        size: side of the images in pixels.
        config: how images are made.
        rule: what the discriminators' word is used for.
        judges: discriminators by the kind of image that they judge, in eval mode; images of
            other kinds are taken as they are.
    """

    def __init__(
        self,
        cache: PatchCache,
        size: int,
        config: SynthesisConfig,
        rule: FilterConfig | None = None,
        judges: Mapping[Kind, nn.Module] | None = None,
    ) -> None:
        self.cache, self.size, self.config = cache, size, config
        self.rule, self.judges = rule or FilterConfig(), dict(judges or {})

    @torch.no_grad()
    def __call__(
        self, n: int, generator: torch.Generator, device: torch.device | None = None
    ) -> Synthetic:
        """Make n images.

        Args:
            n: their number.
            generator: decides everything.
            device: where to make them, and where patches and discriminators stay from then on;
                None leaves them where they are.
        """
        if device is not None and device != self.cache.device:
            self.cache = self.cache.to(device)
            self.judges = {kind: judge.to(device) for kind, judge in self.judges.items()}
        counts = count_kinds(n, self.config, generator)
        parts = [self._of_kind(kind, count, generator) for kind, count in counts.items() if count]
        images = torch.cat([part.images for part in parts])
        masks = torch.cat([part.masks for part in parts])
        figures = {name: value for part in parts for name, value in part.figures.items()}
        return Synthetic(images, masks, figures)

    def _of_kind(self, kind: Kind, n: int, generator: torch.Generator) -> Synthetic:
        def make(count: int) -> tuple[Tensor, Tensor]:
            return synthesise_kind(self.cache, kind, count, self.size, self.config, generator)

        judge, rule = self.judges.get(kind), self.rule
        if judge is None:
            return Synthetic(*make(n))
        choose = accepted if rule.mode == "hard" else partial(weighted, generator=generator)
        chosen = choose(make, judge, n, threshold=rule.threshold, rounds=rule.rounds)
        figures = {
            f"accepted_{kind}": chosen.accepted,
            f"passed_{kind}": (chosen.p_real > rule.threshold).float().mean(),
            f"p_real_{kind}": chosen.p_real.mean(),
        }
        return Synthetic(chosen.images, chosen.masks, figures)
