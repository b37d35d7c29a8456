import pytest
import torch

from histoweak.refine.paths import Ends, displacements, path, path_maxima, pieces
from tests.oracles.inter_pixel import neighbours, path_of


@pytest.mark.parametrize(("radius", "count", "looked_up"), [(10, 152, 2134), (5, 34, 242)])
def test_pairs_and_paths_are_as_many_as_in_the_source(radius, count, looked_up) -> None:
    pairs = displacements(radius)
    assert len(pairs) == count
    assert sum(len(path(d)) for d in pairs) == looked_up
    # Far fewer views make the same maxima.
    assert sum(len(cover) for cover in pieces(radius)) < looked_up / 3


@pytest.mark.parametrize("radius", [2, 3, 5, 7])
def test_every_pair_is_there_once(radius) -> None:
    forth = list(displacements(radius))
    back = [(-y, -x) for y, x in forth]
    assert sorted(forth + back) == sorted(neighbours(radius))
    assert len(set(forth)) == len(forth)


def test_paths_are_those_of_the_definition() -> None:
    for displacement in displacements(9):
        assert path(displacement) == frozenset(path_of(*displacement))


def test_radius_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        displacements(1)


@pytest.mark.parametrize("size", [(11, 13), (3, 14), (1, 4), (1, 1)])
def test_maxima_are_those_of_a_loop_over_pixels(size) -> None:
    torch.manual_seed(0)
    values = torch.rand(2, *size)
    plain, seen = values[1].tolist(), []
    for ends, highest in path_maxima(values, 6):
        dy, dx = ends.displacement
        seen.append((dy, dx))
        left = max(0, -dx)
        assert highest.shape == ends.first(values).shape == ends.second(values).shape
        own, first, second = (
            v[1].tolist() for v in (highest, ends.first(values), ends.second(values))
        )
        for row in range(highest.shape[1]):
            for column in range(highest.shape[2]):
                y, x = row, column + left
                assert own[row][column] == max(plain[y + a][x + b] for a, b in path_of(dy, dx))
                assert first[row][column] == plain[y][x]
                assert second[row][column] == plain[y + dy][x + dx]
    fitting = [d for d in displacements(6) if d[0] < size[0] and abs(d[1]) < size[1]]
    assert seen == fitting


def test_gradient_is_that_of_autograd() -> None:
    torch.manual_seed(0)
    values = torch.rand(1, 9, 8, dtype=torch.float64, requires_grad=True)
    weights = [torch.rand_like(highest) for _, highest in path_maxima(values, 5)]
    total = sum((w * m).sum() for w, (_, m) in zip(weights, path_maxima(values, 5), strict=True))
    (own,) = torch.autograd.grad(total, values)
    plain = torch.zeros(())
    for weight, (ends, _) in zip(weights, path_maxima(values.detach(), 5), strict=True):
        dy, dx = ends.displacement
        rows, columns, left = 9 - dy, 8 - abs(dx), max(0, -dx)
        views = [values[:, a : a + rows, left + b : left + b + columns] for a, b in path_of(dy, dx)]
        plain = plain + (weight * torch.stack(views).amax(0)).sum()
    (expected,) = torch.autograd.grad(plain, values)
    assert torch.allclose(own, expected, atol=1e-12)


def test_equal_values_share_one_gradient() -> None:
    values = torch.full((1, 4, 4), 0.5, requires_grad=True)
    total = sum(highest.sum() for _, highest in path_maxima(values, 3))
    pairs = sum(Ends(d, (4, 4)).first(values).numel() for d in displacements(3))
    (gradient,) = torch.autograd.grad(total, values)
    assert float(gradient.sum()) == pairs
