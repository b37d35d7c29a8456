import hashlib
import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from histoweak.data.check.measure import measure, tissue_facts
from histoweak.refine.white import WhiteConfig
from tests.data.check.fake import tissue

RULE = WhiteConfig(gray=200, min_pixels=0)


def test_stain_white_and_sharpness_against_loops():
    image = tissue(4, 40)
    image[:10] = 250
    white, stain, focus = tissue_facts(image, RULE)
    grey = image @ np.array([0.299, 0.587, 0.114])
    assert white == pytest.approx((grey > 200).mean())
    # Solve, pixel by pixel, density = H * h + E * e + D * d.
    matrix = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    amounts = [
        np.linalg.solve(matrix.T, [-math.log(max(int(v), 1) / 255) for v in image[y, x]])
        for y, x in zip(*np.nonzero(grey <= 200), strict=True)
    ]
    np.testing.assert_allclose(stain, np.mean(amounts, axis=0), atol=1e-9)
    edges = ndimage.laplace(grey)[1:-1, 1:-1][(grey <= 200)[1:-1, 1:-1]]
    assert focus == pytest.approx(edges.var(), rel=1e-4)


def test_blur_lowers_sharpness_and_glass_has_none():
    sharp = tissue(5)
    blurred = ndimage.gaussian_filter(sharp, (3, 3, 0))
    assert tissue_facts(blurred, RULE)[2] < tissue_facts(sharp, RULE)[2] / 5
    assert tissue_facts(np.full((30, 30, 3), 255, np.uint8), RULE) == (1.0, None, None)
    assert tissue_facts(np.zeros((1, 1, 3), np.uint8), RULE) == (0.0, None, None)


def test_large_images_are_measured_in_windows(monkeypatch):
    image = np.tile(tissue(6), (4, 5, 1))
    whole = tissue_facts(image, RULE)
    monkeypatch.setattr("histoweak.data.check.measure.MAX_MEASURED", 1000)
    monkeypatch.setattr("histoweak.data.check.measure.WINDOW", 64)
    sampled = tissue_facts(image, RULE)
    np.testing.assert_allclose(sampled[1], whole[1], rtol=0.05)
    assert tissue_facts(image[:1], RULE)[0] == pytest.approx(whole[0], abs=0.2)


def test_facts_of_a_file(tmp_path):
    image = tissue(7)[:, :50]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "a.png", exif=exif)
    upright = np.rot90(image, -1)
    mask = np.zeros((50, 64), np.uint8)
    mask[:3], mask[10:] = 1, 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    facts = measure(tmp_path / "a.png", tmp_path / "m.png", 2, RULE)
    assert (facts.size, facts.mode, facts.format, facts.orientation) == ((50, 64), "RGB", "PNG", 6)
    assert facts.pixels == (7 * 64, 3 * 64, 40 * 64) and not facts.mask_problem
    wanted = hashlib.sha256(b"(50, 64)" + upright.tobytes()).digest()
    assert facts.digest == wanted


def test_what_cannot_be_read_is_a_reason(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    assert "no image that can be read" in measure(tmp_path / "a.png", None, 2, RULE).problem
    assert measure(tmp_path / "none.png", None, 2, RULE).problem == "does not exist"
    Image.fromarray(tissue(1)).save(tmp_path / "a.png")
    facts = measure(tmp_path / "a.png", tmp_path / "none.png", 2, RULE)
    assert (facts.problem, facts.mask_problem) == ("", "does not exist")
