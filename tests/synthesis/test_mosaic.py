import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from histoweak.classes import IGNORE_INDEX
from histoweak.synthesis.config import MosaicConfig
from histoweak.synthesis.mosaic import cell_side, draw_mosaics, mosaic
from histoweak.synthesis.warp import draw_split
from tests.synthesis.fake import plain_cache, seeded

PUBLISHED = MosaicConfig(balance="patch", turns=False, feather=0, harmonise=0)
CPU = torch.device("cpu")


def test_quadrants_are_even_and_between_44_and_180_of_224() -> None:
    split = draw_split(4000, 224, 0.2, seeded(), CPU)
    for lines in (split.rows, split.columns):
        assert (lines % 2 == 0).all()
        assert lines.min() == 44 and lines.max() == 180
        assert lines.double().mean() == pytest.approx(112.5, abs=2)


@given(
    size=st.integers(16, 70),
    side=st.integers(8, 40),
    cell=st.none() | st.integers(4, 50),
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=40)
def test_masks_tell_the_truth_at_any_size(size, side, cell, counts, seed) -> None:
    """Patches are of one grey per class, so every mask can be read off its image."""
    config = PUBLISHED.model_copy(update={"cell": cell, "turns": True})
    cache = plain_cache(tuple(counts), side)
    images, masks = mosaic(cache, 3, size, config, seeded(seed))
    assert images.shape == (3, 3, size, size) and masks.shape == (3, size, size)
    assert images.dtype == masks.dtype == torch.uint8
    drawn = {i for i, count in enumerate(counts) if count}
    assert set(masks.unique().tolist()) <= drawn
    grey = images[:, 0].float()
    expected = 40 + 20 * masks.float()
    # Where cells meet, up to three of four neighbours of a bilinear sample are of another class.
    assert ((grey - expected).abs() <= 0.75 * 20 * (len(counts) - 1) + 0.5).all()
    # Away from seams, a pixel has the grey of its class.
    assert (grey == expected).float().mean() > (0.3 if (cell or 8) >= 8 else 0)


def test_one_image_equals_the_steps_done_one_by_one() -> None:
    """Against an independent warp of every whole grid, by SciPy, and a crop of its quadrant."""
    noise = torch.rand(12, 3, 40, 40, generator=seeded(1))
    smooth = ndimage.gaussian_filter(noise.numpy(), (0, 0, 2, 2)) * 255
    cache = plain_cache((4, 4, 4), 40)
    cache.images[:] = torch.from_numpy(smooth).to(torch.uint8)
    config = PUBLISHED.model_copy(update={"cell": 32})
    plan = draw_mosaics(cache, 2, 60, config, seeded(5))
    images, masks = mosaic(cache, 2, 60, config, seeded(5))
    for i in range(2):
        expected, truth = one_by_one(cache, plan, i, 60)
        assert np.abs(expected - images[i].numpy().astype(float)).max() < 1.01
        assert (truth == masks[i].numpy()).mean() > 0.999  # ties of nearest neighbours


def one_by_one(cache, plan, i: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    image, mask = np.zeros((3, size, size)), np.zeros((size, size), np.uint8)
    h, w = int(plan.split.rows[i]), int(plan.split.columns[i])
    parts = [(0, h, 0, w), (0, h, w, size), (h, size, 0, w), (h, size, w, size)]
    for q, (y0, y1, x0, x1) in enumerate(parts):
        grid, kinds = np.zeros((3, 64, 64)), np.zeros((64, 64), np.uint8)
        for c in range(4):
            row, x, y = (
                int(f[i, 4 * q + c]) for f in (plan.cells.rows, plan.cells.xs, plan.cells.ys)
            )
            top, left = c // 2 * 32, c % 2 * 32
            grid[:, top : top + 32, left : left + 32] = cache.images[row, :, y : y + 32, x : x + 32]
            kinds[top : top + 32, left : left + 32] = cache.classes[row]
        ys, xs = np.mgrid[y0:y1, x0:x1]
        points = np.stack([xs, ys, np.ones_like(xs)]).reshape(3, -1)
        x, y = (plan.warps[i, q].numpy() @ points).reshape(2, y1 - y0, x1 - x0)
        for c in range(3):
            sampled = ndimage.map_coordinates(grid[c], [y, x], order=1, mode="mirror")
            image[c, y0:y1, x0:x1] = sampled
        mask[y0:y1, x0:x1] = ndimage.map_coordinates(kinds, [y, x], order=0, mode="mirror")
    return image, mask


def test_warps_keep_within_their_limits() -> None:
    """Scale, turn and flip, recovered from the matrices by singular values."""
    plan = draw_mosaics(plain_cache((3, 3), 112), 500, 224, PUBLISHED, seeded())
    matrices = plan.warps[..., :2].double().reshape(-1, 2, 2)
    scale = 1 / torch.linalg.svdvals(matrices)
    assert torch.allclose(scale[:, 0], scale[:, 1], atol=1e-4)
    assert scale.min() + 1e-5 >= 0.8 and scale.max() <= 1.2 + 1e-5
    still = ((scale[:, 0] - 1).abs() < 1e-6).float().mean()
    assert float(still) == pytest.approx(0.2, abs=0.03)
    mirrored = (torch.linalg.det(matrices) < 0).float().mean()
    assert float(mirrored) == pytest.approx(0.8 * 2 / 3, abs=0.04)


@pytest.mark.parametrize(("balance", "share"), [("class", 0.5), ("patch", 0.1)])
def test_rare_classes_are_drawn_as_often_as_others_unless_patches_are(balance, share) -> None:
    config = PUBLISHED.model_copy(update={"balance": balance})
    cache = plain_cache((90, 10), 32)
    plan = draw_mosaics(cache, 300, 64, config, seeded())
    found = cache.classes[plan.cells.rows].float().mean()
    assert float(found) == pytest.approx(share, abs=0.03)


def test_published_draw_often_misses_a_rare_class() -> None:
    """LUAD-HistoSeg has 42 patches of lymphocytes among 4595: 86 % of mosaics hold none."""
    cache = plain_cache((1574, 787, 42, 2192), 4)
    plan = draw_mosaics(cache, 2000, 8, PUBLISHED, seeded())
    missing = (cache.classes[plan.cells.rows] != 2).all(dim=1).float().mean()
    assert float(missing) == pytest.approx((1 - 42 / 4595) ** 16, abs=0.03)


def test_same_generator_same_images_whatever_the_chunks(monkeypatch) -> None:
    cache = plain_cache((5, 5, 5), 32, white=0.3)
    config = MosaicConfig()
    first = mosaic(cache, 7, 48, config, seeded(4))
    monkeypatch.setattr("histoweak.synthesis.mosaic.CHUNK", 2)
    again = mosaic(cache, 7, 48, config, seeded(4))
    other = mosaic(cache, 7, 48, config, seeded(5))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_white_is_ignored_and_white_cells_are_drawn_again() -> None:
    cache = plain_cache((20, 20), 16, white=0.5)
    cache.images[:10], cache.white[:10] = 255, True
    config = PUBLISHED.model_copy(update={"cell": 16, "white_limit": 0.8})
    images, masks = mosaic(cache, 20, 32, config, seeded())
    plan = draw_mosaics(cache, 200, 32, config, seeded())
    assert (plan.cells.rows >= 10).all()
    white = masks == IGNORE_INDEX
    assert 0.4 < float(white.float().mean()) < 0.6
    assert (images[:, 0][white] > 140).float().mean() > 0.95
    assert (images[:, 0][~white] < 160).float().mean() > 0.95
    # A limit that no patch keeps is given up rather than waited for.
    draw_mosaics(cache, 2, 32, config.model_copy(update={"white_limit": 0.1}), seeded())


def test_cells_are_half_an_image_or_a_whole_patch() -> None:
    sides = [cell_side(plain_cache((1,), s), 224, MosaicConfig()) for s in (37, 112, 224)]
    assert sides == [37, 112, 112]
    assert cell_side(plain_cache((1,), 224), 224, MosaicConfig(cell=32)) == 32
