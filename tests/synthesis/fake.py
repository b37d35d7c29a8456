"""Patches whose grey says their class."""

import torch

from histoweak.classes import IGNORE_INDEX
from histoweak.synthesis.cache import PatchCache


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain_cache(
    counts: tuple[int, ...], side: int = 32, white: float = 0.0, white_index: int = IGNORE_INDEX
) -> PatchCache:
    """Patches of one grey per class, 40 + 20 * class; the left share `white` of each is white."""
    classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = (40 + 20 * classes)[:, None, None, None].expand(-1, 3, side, side).clone()
    marks = torch.zeros(len(classes), side, side, dtype=torch.bool)
    marks[..., : round(white * side)] = True
    images[marks[:, None].expand_as(images)] = 255
    patients = [f"p{i % 3}" for i in range(len(classes))]
    return PatchCache(
        images.to(torch.uint8),
        classes,
        patients,
        len(counts),
        marks if white else None,
        white_index,
    )
