import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from histoweak.data import views
from histoweak.data.views import ViewConfig, piece_side, random_view

PLAIN = {"area": 1.0, "stain": 0.0, "stain_shift": 0.0, "gray": 0.0, "blur": 0.0}


def test_a_plain_view_is_the_image_turned_or_mirrored():
    torch.manual_seed(0)
    images = torch.rand(80, 3, 32, 32) * 0.9 + 0.05
    seen = set()
    for image, view in zip(images, random_view(images, ViewConfig(size=32, **PLAIN)), strict=True):
        turned = [torch.rot90(m, k, (1, 2)) for m in (image, image.flip(2)) for k in range(4)]
        errors = [float((view - t).abs().max()) for t in turned]
        assert min(errors) < 1e-4
        seen.add(int(np.argmin(errors)))
    assert len(seen) == 8


def test_a_view_shows_no_less_than_the_share_that_is_set():
    torch.manual_seed(1)
    columns = torch.linspace(0.1, 0.9, 128).expand(64, 3, 128, 128)
    shown = random_view(columns, ViewConfig(size=64, **{**PLAIN, "area": 0.25}))
    spans = (shown.amax((1, 2, 3)) - shown.amin((1, 2, 3))) / 0.8
    # Half a pixel of the view is lost on either side.
    assert spans.min() > 0.5 * 63 / 64 - 0.01 and spans.max() <= 1 and spans.std() > 0.1


@pytest.mark.parametrize("size", [32, 96, 224])
def test_views_of_pieces_show_tissue_at_about_its_own_scale(size):
    config = ViewConfig(size=size, **{**PLAIN, "area": 0.4})
    side = piece_side(config)
    ramp = (torch.arange(side) / 400 + 0.1).expand(64, 3, side, side)
    torch.manual_seed(1)
    shown = random_view(ramp, config)[:, 0]
    middle = shown[:, size // 4 : -size // 4, size // 4 : -size // 4]  # nothing is reflected here
    across, down = middle.diff(dim=2).mean((1, 2)), middle.diff(dim=1).mean((1, 2))
    tissue = 400 * torch.maximum(across.abs(), down.abs())  # pixels of the piece per pixel shown
    assert tissue.mean() == pytest.approx(1, abs=0.06)
    assert tissue.min() > 0.7 and tissue.max() < 1.25


@pytest.mark.parametrize("part", ["stain", "gray", "blur"])
def test_each_part_changes_some_views(part):
    images = torch.rand(16, 3, 32, 32) * 0.8 + 0.1
    changed = {**PLAIN, part: 0.5}
    torch.manual_seed(2)
    plain = random_view(images, ViewConfig(size=32, **PLAIN))
    torch.manual_seed(2)
    other = random_view(images, ViewConfig(size=32, **changed))
    differs = (plain - other).abs().amax((1, 2, 3)) > 1e-3
    assert differs.any() and (part == "stain" or not differs.all())
    assert other.min() >= 0 and other.max() <= 1


def test_blur_is_a_gaussian_of_each_images_own_width():
    images = torch.rand(3, 3, 20, 24)
    torch.manual_seed(3)
    blurred = views._blur(images, 1.5)
    torch.manual_seed(3)
    widths = 1.5 * torch.rand(3, 1).clamp(min=0.1)
    for image, width, found in zip(images.numpy(), widths.numpy(), blurred.numpy(), strict=True):
        for axis in (1, 2):
            image = gaussian_filter1d(image, float(width[0]), axis, mode="nearest", radius=4)
        np.testing.assert_allclose(found, image, atol=1e-5)


def test_the_generator_decides_all():
    images = torch.rand(4, 3, 40, 40)
    first, second = (torch.manual_seed(5) and random_view(images, ViewConfig()) for _ in range(2))
    assert torch.equal(first, second)
