import math

import numpy as np
import pytest
import torch

from histoweak.objectives.affinity import (
    affinity_loss,
    displacement_loss,
    nearest_seeds,
    pair_counts,
)
from histoweak.refine.paths import displacements
from tests.oracles.inter_pixel import affinity

RADIUS = 4


def example(classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    boundary = torch.rand(2, 7, 8, generator=generator) * 0.9
    seeds = torch.randint(0, classes + 1, (2, 7, 8), generator=generator)
    return boundary, torch.where(seeds == classes, 255, seeds).to(torch.uint8)


def pairs(boundary: torch.Tensor, seeds: torch.Tensor):
    """(displacement, first pixel, second pixel, seeds of both, affinity) of every seeded pair."""
    for image in range(len(seeds)):
        labels, wall = seeds[image].tolist(), boundary[image].numpy()
        height, width = wall.shape
        for dy, dx in displacements(RADIUS):
            for y in range(height - dy):
                for x in range(max(0, -dx), width - max(0, dx)):
                    one, two = labels[y][x], labels[y + dy][x + dx]
                    if 255 not in (one, two):
                        yield (dy, dx), (image, y, x), one, two, affinity(wall, y, x, dy, dx)


@pytest.mark.parametrize("background", [None, 0, 2])
def test_affinity_loss_is_that_of_a_loop(background) -> None:
    boundary, seeds = example()
    same: dict[object, list[float]] = {}
    apart = []
    for _, _, one, two, a in pairs(boundary, seeds):
        if one == two:
            kind = one if background is None else one == background
            same.setdefault(kind, []).append(-math.log(a + 1e-5))
        else:
            apart.append(-math.log(1 - a + 1e-5))
    together = np.mean([np.mean(values) for values in same.values()])
    losses = affinity_loss(boundary, seeds, RADIUS, background)
    assert float(losses["together"]) == pytest.approx(together, rel=1e-4)
    assert float(losses["apart"]) == pytest.approx(np.mean(apart), rel=1e-4)
    assert float(losses["affinity"]) == pytest.approx((together + np.mean(apart)) / 2, rel=1e-4)


def test_every_class_counts_however_high_its_index() -> None:
    boundary, seeds = example()
    shifted = torch.where(seeds == 255, 255, seeds.long() + 200).to(torch.uint8)
    few = affinity_loss(boundary, seeds, RADIUS)["affinity"]
    many = affinity_loss(boundary, shifted, RADIUS)["affinity"]
    assert torch.allclose(few, many)


def test_no_pair_costs_nothing() -> None:
    boundary = torch.rand(1, 5, 5, requires_grad=True)
    for seeds in (torch.full((1, 5, 5), 255), torch.zeros(1, 5, 5)):
        losses = affinity_loss(boundary, seeds.to(torch.uint8), RADIUS)
        assert losses["apart"].item() == 0
        losses["affinity"].backward()
    tiny = affinity_loss(torch.rand(1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.uint8), RADIUS)
    assert float(tiny["affinity"]) == 0


@pytest.mark.parametrize("background", [None, 0])
def test_displacement_loss_is_that_of_a_loop(background) -> None:
    boundary, seeds = example(2)
    field = torch.randn(2, 2, 7, 8, generator=torch.Generator().manual_seed(2))
    objects, flat = [], []
    for (dy, dx), (image, y, x), one, two, _ in pairs(boundary, seeds):
        if one != two:
            continue
        down, right = (field[image, :, y, x] - field[image, :, y + dy, x + dx]).tolist()
        if one == background:
            flat.append((abs(down) + abs(right)) / 2)
        else:
            objects.append((abs(down - dy) + abs(right - dx)) / 2)
    expected = (np.mean(objects) + (np.mean(flat) if flat else 0)) / 2
    loss = displacement_loss(field, seeds, RADIUS, background)["displacement"]
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_a_field_that_points_at_one_centre_costs_nothing() -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    field = torch.stack([3 - rows, 2 - columns])[None]
    seeds = torch.zeros(1, 6, 7, dtype=torch.uint8)
    assert float(displacement_loss(field, seeds, RADIUS)["displacement"]) == 0


def test_pairs_are_counted_by_class() -> None:
    boundary, seeds = example()
    expected = np.zeros((3, 3), int)
    for _, _, one, two, _ in pairs(boundary, seeds):
        expected[one, two] += 1
        if one != two:
            expected[two, one] += 1
    assert pair_counts(seeds, RADIUS, 3).tolist() == expected.tolist()


def test_seeds_are_read_at_the_centres_of_cells() -> None:
    seeds = torch.arange(64, dtype=torch.uint8).view(1, 8, 8)
    assert nearest_seeds(seeds, (2, 2)).tolist() == [[[18, 22], [50, 54]]]
