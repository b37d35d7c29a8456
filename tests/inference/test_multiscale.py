import numpy as np
import pytest
import torch
import torch.nn.functional as F

from histoweak.inference.multiscale import ScalesConfig, cell_places, scaled_maps
from histoweak.inference.resize import interpolate
from tests.inference.models import classifier, picture


def test_one_magnification_is_the_plain_pass() -> None:
    model, image = classifier(mpp=0.5), picture(70, 90)
    config = ScalesConfig(factors=(1.0,))
    own = scaled_maps(model, image, 0.25, config)
    np.testing.assert_allclose(own, model.maps(image, 0.25), atol=1e-6)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("cells", "side"), [(5, 40), (9, 40), (40, 40), (61, 40)])
def test_places_are_those_of_torchs_resizing(cells, side, align_corners) -> None:
    values = np.random.default_rng(0).random((1, cells)).astype(np.float32)
    places = cell_places(side, 1, (side, cells), align_corners)
    theirs = F.interpolate(
        torch.from_numpy(values)[None], side, mode="linear", align_corners=align_corners
    )
    np.testing.assert_allclose(interpolate(values, 1, places), theirs[0].numpy(), atol=1e-5)


def test_aligned_corners_move_maps_by_up_to_half_a_stride() -> None:
    """At stride 8, what lies in the first cell comes to lie four pixels nearer to the border."""
    centred = cell_places(40, 8, (320, 320), False)
    aligned = cell_places(40, 8, (320, 320), True)
    moved = 8 * np.abs(centred - aligned)
    assert moved.max() == pytest.approx(3.5, abs=0.1) and moved[19:21].max() < 0.2


def test_the_maximum_bounds_the_mean_from_above() -> None:
    model, image = classifier(), picture(64, 96)
    parts = [scaled_maps(model, image, None, ScalesConfig(factors=(f,))) for f in (0.75, 1, 1.5)]
    mean = scaled_maps(model, image, None, ScalesConfig(factors=(0.75, 1, 1.5)))
    top = scaled_maps(model, image, None, ScalesConfig(factors=(0.75, 1, 1.5), combine="max"))
    np.testing.assert_allclose(mean, np.mean(parts, axis=0), atol=1e-6)
    np.testing.assert_array_equal(top, np.max(parts, axis=0))
    assert (top >= mean - 1e-6).all()


def test_structures_stay_where_they_are() -> None:
    """A bright quarter excites the same cells at every magnification."""
    model = classifier()
    image = np.zeros((128, 128, 3), np.uint8)
    image[:64, :64] = 255
    plain = model.maps(image)
    seen = scaled_maps(model, image, None, ScalesConfig(factors=(2.0,)))
    assert seen.shape == plain.shape
    for own, base in zip(seen, plain, strict=True):
        assert np.corrcoef(own.ravel(), base.ravel())[0, 1] > 0.5
