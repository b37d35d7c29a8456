import numpy as np
import pytest
import torch

from histoweak.synthesis.canvas import _lay_all, _lay_each, crossfade, draw_cells, turned
from histoweak.synthesis.draw import below
from tests.synthesis.fake import plain_cache, seeded


def test_both_ways_of_laying_cells_agree() -> None:
    cache = plain_cache((7,), 12)
    cache.images.random_(generator=seeded(1))
    rows = below(7, torch.rand(3, 2 * 9, generator=seeded(2)))
    cells = draw_cells(cache, rows, 8, True, seeded(3))
    each = _lay_each(cache.images, cells, 2, torch.float32)
    assert each.shape == (3, 3, 48, 24)
    assert torch.equal(each, _lay_all(cache.images, cells, 2, torch.float32))
    # And one cell by hand: second image, second grid, row 2, column 1.
    k = 9 + 2 * 3 + 1
    row, x, y, turns = (int(f[1, k]) for f in (cells.rows, cells.xs, cells.ys, cells.turns))
    piece = cache.images[row, :, y : y + 8, x : x + 8].numpy()
    piece = piece[..., ::-1] if turns >= 4 else piece
    expected = np.rot90(piece, turns % 4, (1, 2))
    assert np.array_equal(each[1, :, 24 + 16 : 48, 8:16].numpy(), expected)


def test_turns_reach_all_eight_orientations() -> None:
    piece = torch.arange(4).view(1, 2, 2)
    assert len({tuple(turned(piece, code).flatten().tolist()) for code in range(8)}) == 8


@pytest.mark.parametrize("dim", [2, 3])
def test_crossfade_mixes_mirror_images(dim) -> None:
    """Against the definition, pixel by pixel."""
    images = torch.rand(2, 3, 10, 10, generator=seeded())
    seams = torch.tensor([3, 6])
    expected = images.clone()
    for b, seam in enumerate(seams.tolist()):
        for k in range(2):
            weight = 0.5 - (k + 0.5) / 4
            low, high = (images.select(dim, at)[b] for at in (seam - 1 - k, seam + k))
            expected.select(dim, seam - 1 - k)[b] = (1 - weight) * low + weight * high
            expected.select(dim, seam + k)[b] = (1 - weight) * high + weight * low
    crossfade(images, seams, 4, dim)
    assert torch.allclose(images, expected)


def test_whole_numbers_below_a_bound_are_even_and_never_reach_it() -> None:
    share = torch.tensor([0.0, 0.5, 1 - 2**-24])
    assert below(10, share).tolist() == [0, 5, 9]
    assert below(3_000_000_000, share)[2] < 3_000_000_000
    assert below(torch.tensor([0, 1, 2]), share).tolist() == [0, 0, 1]
