"""Composition in optical density against the law, pixel by pixel."""

import math

import numpy as np
import pytest

from histoweak.data.phantom.noise import Window
from histoweak.data.phantom.stain import PatientStyle, beer_lambert, scan


def _style(seed: int) -> PatientStyle:
    return PatientStyle.draw(np.random.SeedSequence(seed))


def test_light_follows_beer_and_lambert() -> None:
    rng = np.random.default_rng(0)
    concentration = rng.uniform(0, 2, (3, 5, 4)).astype(np.float32)
    style = _style(1)
    light = beer_lambert(concentration, style.stains, style.white)
    for y in range(5):
        for x in range(4):
            for c in range(3):
                density = sum(float(concentration[s, y, x]) * style.stains[s, c] for s in range(3))
                assert light[c, y, x] == pytest.approx(
                    style.white[c] * math.exp(-density), abs=1e-5
                )


@pytest.mark.parametrize("seed", range(8))
def test_stains_are_unit_vectors_of_their_colours(seed: int) -> None:
    haematoxylin, eosin, blood = _style(seed).stains
    for stain in (haematoxylin, eosin, blood):
        assert np.linalg.norm(stain) == pytest.approx(1)
        assert (stain > 0).all()
    # Haematoxylin takes much more red than eosin does; both take green most.
    assert haematoxylin[0] > 2 * eosin[0]
    assert eosin.argmax() == 1


def test_patients_differ_and_repeat() -> None:
    assert np.array_equal(_style(3).stains, _style(3).stains)
    assert not np.allclose(_style(3).stains, _style(4).stains)
    assert _style(3).white != _style(4).white


def test_scanner_noise_is_small_centred_and_tied_to_the_pixel() -> None:
    style = _style(0)
    window = Window(0, 0, 200, 200, 1.0)
    light = np.full((3, 208, 208), 0.5, np.float32)
    picture = scan(light, window, 7, style, 4)
    assert picture.shape == (200, 200, 3)
    assert picture.mean() == pytest.approx(127.5, abs=0.3)
    assert 0.3 < picture.std() < 255 * 0.015
    part = scan(light[:, 50:90, 20:60], Window(50, 20, 32, 32, 1.0), 7, style, 4)
    assert np.array_equal(part, picture[50:82, 20:52])
