import numpy as np
import pytest
import torch
import torch.nn.functional as F

from histoweak.data.rescale import rescale_image
from histoweak.errors import ConfigError, ImageError
from histoweak.inference.scales import mean_over_scales
from tests.inference.models import classifier, picture, segmenter


@pytest.mark.parametrize("model", [segmenter(), classifier()], ids=["segmenter", "classifier"])
def test_the_mean_is_that_of_whole_images_resized(model):
    image, scales = picture(50, 70), (1.0, 0.6, 1.7)
    each = []
    for scale in scales:
        probs = torch.from_numpy(model.probs(rescale_image(image, scale)))
        each.append(F.interpolate(probs[None], (50, 70), mode="bilinear", align_corners=False)[0])
    found = model.probs(image, scales=scales)
    np.testing.assert_allclose(found, torch.stack(each).mean(dim=0), atol=1e-5)
    np.testing.assert_array_equal(model.predict(image, scales=scales).array, found.argmax(axis=0))


def test_bands_of_any_height_are_averaged_row_by_row():
    slope = torch.linspace(0, 1, 41)

    def bands_of(image):
        """Each row holds its place in the image, in bands of growing height."""
        height, width = image.shape[:2]
        rows = (torch.arange(height) + 0.5) / height
        top = 0
        for count in range(1, height + 1):
            band = rows[top : top + count]
            if len(band):
                yield band[None, :, None].expand(1, -1, width)
            top += count

    found = torch.cat(list(mean_over_scales(bands_of, picture(40, 30), (1.0, 0.5, 2.3))), dim=1)
    assert found.shape == (1, 40, 30)
    # Inside, linear interpolation keeps a slope; at the border the outermost values hold.
    middle = (slope[1:] + slope[:-1])[1:-1] / 2
    torch.testing.assert_close(found[0, 1:-1], middle[:, None].expand(-1, 30), atol=0.005, rtol=0)


def test_scale_one_alone_is_the_plain_prediction():
    model, image = segmenter(), picture(40, 50)
    np.testing.assert_array_equal(model.probs(image, scales=(1.0,)), model.probs(image))


def test_scales_out_of_range_are_refused():
    model, image = segmenter(), picture(8, 8)
    for wrong in ((), (0.0,), (float("nan"),), (11.0,)):
        with pytest.raises(ConfigError, match="scales"):
            model.probs(image, scales=wrong)


def test_an_image_too_large_at_its_largest_scale_is_refused(monkeypatch):
    monkeypatch.setattr("histoweak.inference.model.MAX_PIXELS", 3000)
    model = segmenter()
    model.probs(picture(40, 50), scales=(1.0,))
    with pytest.raises(ImageError, match="80 x 100 pixels at the largest of its scales"):
        model.probs(picture(40, 50), scales=(1.0, 2.0))
