import numpy as np
from skimage.color import rgb2hed

from histoweak.data.hed import RGB_FROM_HED
from histoweak.data.nuclei import nuclear_density


def stained(haematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    amounts = np.stack([haematoxylin, eosin, np.zeros_like(eosin)], axis=-1)
    return np.round(255 * np.exp(-amounts @ np.array(RGB_FROM_HED))).astype(np.uint8)


def test_density_orders_pixels_as_an_independent_unmixing_does() -> None:
    image = np.random.default_rng(0).integers(60, 240, (24, 30, 3)).astype(np.uint8)
    density = nuclear_density(image, sigma=1e-3)
    theirs = rgb2hed(image)[..., 0]
    inside = (density > 0) & (density < 1)
    order = np.corrcoef(density[inside].argsort().argsort(), theirs[inside].argsort().argsort())
    assert order[0, 1] > 0.999


def test_it_follows_haematoxylin_and_not_eosin() -> None:
    ramp = np.tile(np.linspace(0, 1.5, 60), (20, 1))
    by_nuclei = nuclear_density(stained(ramp, np.full_like(ramp, 0.3)), sigma=1.0)
    assert (np.diff(by_nuclei[10, 2:50]) > 0).all() and by_nuclei.max() == 1
    by_eosin = nuclear_density(stained(np.full_like(ramp, 0.5), ramp), sigma=1.0)
    assert np.ptp(by_eosin[:, 5:55]) < 0.1


def test_white_background_has_none() -> None:
    image = stained(np.full((20, 20), 0.8), np.full((20, 20), 0.3))
    white = np.zeros((20, 20), bool)
    white[:, 10:] = True
    density = nuclear_density(image, 0.5, white)
    assert (density[:, :8] > 0.95).all() and (density[:, 12:] < 0.01).all()


def test_nothing_stained_is_nothing_dense() -> None:
    assert not nuclear_density(np.full((8, 8, 3), 255, np.uint8), 2.0).any()
