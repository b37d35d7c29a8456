"""Random choices, all from one generator.

Random numbers are drawn on the generator's device and then moved: with a generator of the CPU, the
same images come out on every device but for rounding.
"""

import torch
from torch import Tensor

from histoweak.synthesis.cache import PatchCache
from histoweak.synthesis.config import Balance


def fresh_generator() -> torch.Generator:
    """Return a generator of the CPU, seeded by PyTorch's own.

    Training seeds that one anew at every step, so that synthetic images of a resumed run are those
    of an uninterrupted one.
    """
    return torch.Generator().manual_seed(int(torch.randint(2**62, (1,)).item()))


def uniform(
    shape: tuple[int, ...], generator: torch.Generator, device: torch.device | None = None
) -> Tensor:
    """Float32 in [0, 1)."""
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return drawn if device is None else drawn.to(device)


def below(bound: Tensor | int, share: Tensor) -> Tensor:
    """Whole numbers 0 .. bound - 1 (int64) from shares in [0, 1); a bound of 0 gives 0."""
    # In doubles, since float32 knows no whole numbers beyond 2^24; and 1 - 2^-25 * n may round up.
    last = torch.as_tensor(bound, device=share.device) - 1
    return (share.double() * (last + 1)).long().minimum(last).clamp(min=0)


def draw_classes(
    cache: PatchCache, shape: tuple[int, ...], balance: Balance, generator: torch.Generator
) -> Tensor:
    """Draw classes (int64 of `shape`) among those that have patches."""
    share = uniform(shape, generator, cache.device)
    if balance == "patch":
        return cache.classes[cache.rows[below(len(cache), share)]]
    present = torch.nonzero(cache.counts).flatten()
    return present[below(len(present), share)]


def draw_rows(cache: PatchCache, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a patch of each class: rows of the cache, int64 of the shape of `classes`.

    Rare classes give the same patches more often; each time they are cut, turned and warped anew.
    """
    share = uniform(tuple(classes.shape), generator, cache.device)
    return cache.order[cache.starts[classes] + below(cache.counts[classes], share)]
