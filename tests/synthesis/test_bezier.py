import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histoweak.classes import IGNORE_INDEX
from histoweak.errors import ConfigError
from histoweak.synthesis.bezier import bezier
from histoweak.synthesis.config import BezierConfig
from tests.synthesis.fake import plain_cache, seeded

HARD = BezierConfig(feather=0, harmonise=0)


@given(
    size=st.integers(16, 70),
    side=st.integers(8, 80),
    counts=st.lists(st.integers(0, 4), min_size=2, max_size=5),
    fit=st.sampled_from(["keep", "resize"]),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=40)
def test_masks_tell_the_truth_at_any_size(size, side, counts, fit, seed) -> None:
    """Patches are of one grey per class, so the mask can be read off the image."""
    cache = plain_cache(tuple(counts), side)
    config = HARD.model_copy(update={"fit": fit})
    if sum(count > 0 for count in counts) < 2:
        with pytest.raises(ConfigError, match="two classes"):
            bezier(cache, 2, size, config, seeded(seed))
        return
    images, masks = bezier(cache, 3, size, config, seeded(seed))
    assert images.dtype == masks.dtype == torch.uint8
    assert images.shape == (3, 3, size, size)
    assert torch.equal(images, (40 + 20 * masks)[:, None].expand_as(images))
    drawn = {i for i, count in enumerate(counts) if count}
    for mask in masks:
        assert set(mask.unique().tolist()) <= drawn and len(mask.unique()) <= 2


def test_pairs_are_background_and_foreground() -> None:
    config = HARD.model_copy(update={"pairs": ((0, 2),)})
    _, masks = bezier(plain_cache((2, 2, 2), 32), 20, 32, config, seeded())
    assert set(masks.unique().tolist()) == {0, 2}
    assert (masks[:, 0, 0] == 0).float().mean() > 0.8  # corners are seldom inside
    with pytest.raises(ConfigError, match=r"none of \[3\]"):
        bezier(plain_cache((2, 2, 2, 0), 8), 1, 8, BezierConfig(pairs=((0, 3),)), seeded())


def test_all_pairs_come_equally_often() -> None:
    cache = plain_cache((90, 3, 3), 8)
    _, masks = bezier(cache, 600, 16, HARD, seeded())
    corners = torch.bincount(masks[:, 0, 0], minlength=3) / 600
    assert torch.allclose(corners, torch.full((3,), 1 / 3), atol=0.07)


def test_soft_edges_are_a_mean_over_the_blob() -> None:
    """Against a mean over windows of the hard mask, pixel by pixel."""
    config = BezierConfig(feather=4, harmonise=0, pairs=((0, 1),))
    images, masks = bezier(plain_cache((1, 1), 32), 2, 32, config, seeded(3))
    padded = torch.nn.functional.pad(masks[:, None].float(), (2,) * 4, mode="replicate")
    for y, x in [(0, 0), (16, 16), (9, 20), (20, 9), (31, 5)]:
        share = padded[:, 0, y : y + 5, x : x + 5].mean(dim=(1, 2))
        assert torch.allclose(images[:, 0, y, x].float(), 40 + 20 * share, atol=0.51)


def test_white_of_either_patch_is_ignored() -> None:
    cache = plain_cache((3, 3), 32, white=0.25)
    turns_off = {"turns": False}
    images, masks = bezier(cache, 4, 32, HARD.model_copy(update=turns_off), seeded())
    assert torch.equal(masks == IGNORE_INDEX, images[:, 0] == 255)
    assert (masks[..., :8] == IGNORE_INDEX).all()
    _, plain = bezier(cache, 4, 32, HARD.model_copy(update={"white": False}), seeded())
    assert not (plain == IGNORE_INDEX).any()


def test_small_patches_keep_their_scale_and_large_ones_are_cut() -> None:
    """A gradient along x shows the scale: one grey per pixel, over and over."""
    for side in (16, 64):
        cache = plain_cache((1, 1), side)
        cache.images[:] = torch.arange(side, dtype=torch.uint8)
        config = HARD.model_copy(update={"turns": False})
        images, _ = bezier(cache, 1, 32, config, seeded())
        steps = images[0, 0].int().diff(dim=1)
        assert (steps == 1).float().mean() > 0.8
