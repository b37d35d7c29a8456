import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from histoweak.classes import IGNORE_INDEX
from histoweak.synthesis.config import MosaicConfig
from histoweak.synthesis.mosaic import cell_side, draw_mosaics, mosaic
from histoweak.synthesis.warp import draw_split, draw_warps
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


def test_warps_are_crop_warp_and_flip_of_whole_grids_one_after_another() -> None:
    """From the raw draws: where a whole grid, flipped, then warped, then cut, shows each pixel."""
    config = MosaicConfig(shift=0.1, rotate=30)
    split = draw_split(6, 64, 0.2, seeded(1), CPU)
    warps = draw_warps(split, 64, 90, config, seeded(2)).double().numpy()
    again = seeded(2)
    cuts, moves, flips = (torch.rand(6, 4, k, generator=again).double().numpy() for k in (2, 5, 2))
    centre = np.array([[1, 0, 44.5], [0, 1, 44.5], [0, 0, 1]])
    moved = 0
    for i, q in np.ndindex(6, 4):
        h, w = int(split.rows[i]), int(split.columns[i])
        top, left = (0, h)[q // 2], (0, w)[q % 2]
        tall, wide = (h, 64 - h)[q // 2], (w, 64 - w)[q % 2]
        origin = np.floor(cuts[i, q] * (90 - np.array([tall, wide]) + 1))
        # The first pixel of the quadrant and its last one, on the warped grid.
        at = np.array([[0, wide - 1], [0, tall - 1]]) + origin[::-1, None]
        turn, scale, x, y = 2 * moves[i, q, 1:] - 1
        if moves[i, q, 0] < 0.8:
            angle, by = np.radians(30 * turn), 1 + 0.2 * scale
            cos, sin = by * np.cos(angle), by * np.sin(angle)
            turned = np.array([[cos, -sin, 9 * x], [sin, cos, 9 * y], [0, 0, 1]])
            forward = centre @ turned @ np.linalg.inv(centre)
            at = (np.linalg.inv(forward) @ np.vstack([at, np.ones(2)]))[:2]
            moved += 1
        if flips[i, q, 0] < 0.8:
            kind = 1 + int(flips[i, q, 1] * 3)  # along x, along y, both
            for axis in range(2):
                at[axis] = 89 - at[axis] if kind in (axis + 1, 3) else at[axis]
        corners = np.array([[left, left + wide - 1], [top, top + tall - 1], [1, 1]])
        assert np.allclose(warps[i, q] @ corners, at, atol=1e-3)
    assert 10 < moved < 24


def test_seams_are_faded_within_grids_and_between_them() -> None:
    """Hard seams jump by the 20 levels between two classes; faded ones climb in steps."""
    cache = plain_cache((4, 4), 16)
    still = MosaicConfig(cell=16, warp=0, flip=0, harmonise=0)
    made = [
        mosaic(cache, 20, 32, still.model_copy(update={"feather": f}), seeded(3)) for f in (0, 4)
    ]
    jumps = [
        int(sum((images[:, 0].int().diff(dim=d).abs() == 20).sum() for d in (1, 2)))
        for images, _ in made
    ]
    assert jumps[0] > 500 and jumps[1] < 0.02 * jumps[0]
    (hard, masks), (soft, again) = made
    assert torch.equal(masks, again)
    away = ndimage.maximum_filter(masks.numpy(), (1, 9, 9)) == ndimage.minimum_filter(
        masks.numpy(), (1, 9, 9)
    )
    # A seam of a grid may lie just beyond what is cut from it.
    assert (hard[:, 0].numpy() == soft[:, 0].numpy())[away].mean() > 0.95


def test_white_is_no_fault_of_cells_whose_class_it_is() -> None:
    cache = plain_cache((10, 10), 16, white=0.2, white_index=1)
    cache.images[10:], cache.white[10:] = 255, True
    config = PUBLISHED.model_copy(update={"cell": 16, "balance": "class", "white_limit": 0.5})
    plan = draw_mosaics(cache, 200, 32, config, seeded())
    assert float((plan.cells.rows >= 10).float().mean()) == pytest.approx(0.5, abs=0.04)
    images, masks = mosaic(cache, 20, 32, config, seeded())
    assert set(masks.unique().tolist()) == {0, 1}
    assert (masks[images[:, 0] == 255] == 1).all() and (images[:, 0][masks == 0] < 200).all()


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
    # Modulo half a turn and a flip, which leave the angle of the axis or mirror it.
    angle = torch.atan2(matrices[:, 0, 1], matrices[:, 0, 0]).rad2deg().remainder(180)
    angle = torch.minimum(angle, 180 - angle)[(scale[:, 0] - 1).abs() > 1e-6]
    assert 44 < angle.max() <= 45.001 and float(angle.mean()) == pytest.approx(22.5, abs=1)


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
