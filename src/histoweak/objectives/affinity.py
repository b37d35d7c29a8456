"""Losses of pairs of pixels: whether they belong together, and where their common centre lies.

Ahn, Cho and Kwak (CVPR 2019), section 4.2: equations 5 to 7 for the affinities, equations 2 and 3
for displacements. Labels come from seeds, never from masks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from histoweak.classes import IGNORE_INDEX
from histoweak.refine.paths import Ends, displacements, path_maxima

EPSILON = 1e-5


def affinity_loss(
    boundary: Tensor, seeds: Tensor, radius: int, background: int | None = None
) -> dict[str, Tensor]:
    """Balanced cross entropy of the affinities of all pairs whose ends both carry a seed.

    `a_ij = 1 - max B` over the path. Pairs of one class should reach 1, pairs of two classes 0:
    `1/2 [mean over kinds of mean -log a] + 1/2 [mean -log (1 - a)]`. Kinds that have no pair do
    not count; a part that has none is 0.

    Args:
        boundary: (B, h, w) in [0, 1].
        seeds: (B, h, w) integers, class index or 255.
        radius: of the pairs, in pixels of the maps.
        background: class that is one kind, all others together the second, as in the paper; None
            makes every class a kind, so that no frequent class drowns the rest.

    Returns:
        `affinity`, and its parts `together` and `apart`.
    """
    affinity, first, second = _pairs(boundary, seeds, radius)
    known = (first != IGNORE_INDEX) & (second != IGNORE_INDEX)
    kind = first if background is None else (first == background).to(first.dtype)
    joined = -torch.log(affinity + EPSILON)
    means = []
    for value in torch.unique(kind[known]).tolist():
        chosen = known & (first == second) & (kind == value)
        if bool(chosen.any()):
            means.append((joined * chosen).sum() / chosen.sum())
    nothing = boundary.sum() * 0
    together = torch.stack(means).mean() if means else nothing
    different = known & (first != second)
    parted = -torch.log(1 - affinity + EPSILON)
    apart = (parted * different).sum() / different.sum().clamp(min=1)
    return {"affinity": (together + apart) / 2, "together": together, "apart": apart}


def _pairs(boundary: Tensor, seeds: Tensor, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    """Affinity and the two seeds of every pair, side by side."""
    affinity, first, second = [boundary.flatten()[:0]], [seeds.flatten()[:0]], [seeds.flatten()[:0]]
    for ends, highest in path_maxima(boundary, radius):
        affinity.append((1 - highest).flatten())
        first.append(ends.first(seeds).flatten())
        second.append(ends.second(seeds).flatten())
    return torch.cat(affinity), torch.cat(first), torch.cat(second)


def displacement_loss(
    field: Tensor, seeds: Tensor, radius: int, background: int | None = None
) -> dict[str, Tensor]:
    """Displacements to a common centre: within a class, and none in particular on background.

    A pixel i of an object points at its centre, `i + D_i`; neighbours share it, so that
    `D_i - D_j = j - i`. Background pixels of a pair should not differ.

    Args:
        field: (B, 2, h, w), rows down and columns to the right, in pixels of the map.
        seeds: (B, h, w) integers, class index or 255.
        radius: of the pairs.
        background: class without objects, None for none.

    Returns:
        `displacement`: half the sum of the two means (0 for a part without pairs).
    """
    size = (field.shape[-2], field.shape[-1])
    sums = [field.sum() * 0, field.sum() * 0]
    counts = [field.new_zeros(()), field.new_zeros(())]
    for displacement in displacements(radius):
        ends = Ends(displacement, size)
        if ends.empty:
            continue
        first, second = ends.first(seeds), ends.second(seeds)
        same = (first == second) & (first != IGNORE_INDEX)
        flat = torch.zeros_like(same) if background is None else same & (first == background)
        offset = field.new_tensor(displacement).view(1, 2, 1, 1)
        difference = ends.first(field) - ends.second(field)
        for part, (chosen, wanted) in enumerate(((same & ~flat, offset), (flat, offset * 0))):
            error = (difference - wanted).abs().mean(dim=1)
            sums[part] = sums[part] + (error * chosen).sum()
            counts[part] = counts[part] + chosen.sum()
    means = [total / count.clamp(min=1) for total, count in zip(sums, counts, strict=True)]
    return {"displacement": (means[0] + means[1]) / 2}


def pair_counts(seeds: Tensor, radius: int, n_classes: int) -> Tensor:
    """How many pairs of seeds each two classes form.

    Args:
        seeds: (B, h, w) integers, class index or 255.
        radius: of the pairs.
        n_classes: K.

    Returns:
        (K, K) int64, symmetric; entry (c, c) counts pairs within class c once.
    """
    counts = torch.zeros(n_classes * n_classes, dtype=torch.int64)
    for displacement in displacements(radius):
        ends = Ends(displacement, (seeds.shape[-2], seeds.shape[-1]))
        if ends.empty:
            continue
        first, second = ends.first(seeds).long(), ends.second(seeds).long()
        known = (first != IGNORE_INDEX) & (second != IGNORE_INDEX)
        pairs = first[known] * n_classes + second[known]
        counts += torch.bincount(pairs, minlength=n_classes * n_classes)
    table = counts.view(n_classes, n_classes)
    return table + table.T - torch.diag(table.diagonal())


def nearest_seeds(seeds: Tensor, size: tuple[int, int]) -> Tensor:
    """Seeds (B, H, W) uint8 at the size (h, w) of a map: the seed at the centre of each cell."""
    return F.interpolate(seeds[:, None], size, mode="nearest-exact")[:, 0]
