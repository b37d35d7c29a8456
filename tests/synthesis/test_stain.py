import pytest
import torch

from histoweak.synthesis.bezier import bezier
from histoweak.synthesis.cache import PatchCache
from histoweak.synthesis.config import BezierConfig, MosaicConfig
from histoweak.synthesis.mosaic import mosaic
from histoweak.synthesis.stain import MOST, PRIOR, exponents
from tests.synthesis.fake import seeded


def stained_cache(per: int = 40) -> PatchCache:
    """Two classes of different density, each from a pale and a dark patient (factors 0.8, 1.25)."""
    rows = [(k, f) for k in range(2) for f in (0.8, 1.25) for _ in range(per)]
    noise = torch.rand(len(rows), 3, 16, 16, generator=seeded()) * 0.1
    density = torch.stack([torch.full((3, 16, 16), (0.5 + 0.4 * k) * f) for k, f in rows]) + noise
    images = (256 * torch.exp(-density) - 1).round().clamp(0, 255).to(torch.uint8)
    patients = ["pale" if f < 1 else "dark" for _, f in rows]
    return PatchCache(images, torch.tensor([k for k, _ in rows]), patients, 2)


def test_effects_are_of_the_patient_and_not_of_the_class() -> None:
    cache = stained_cache()
    # Shrunk by the prior: 80 patches of each patient.
    expected = torch.tensor([0.8, 1.25]).log() * 80 / (80 + PRIOR)
    pale = torch.tensor([name == "pale" for name in cache.patients])
    assert torch.allclose(cache.stain[pale], expected[0].expand(80, 3), atol=0.02)
    assert torch.allclose(cache.stain[~pale], expected[1].expand(80, 3), atol=0.02)


def test_white_says_nothing_and_effects_are_bounded() -> None:
    cache = stained_cache(4)
    white = cache.images.clone()
    white[::4] = 255
    mostly = PatchCache(white, cache.classes, cache.patients, 2)
    assert torch.allclose(mostly.stain, cache.stain, atol=0.05)
    black = cache.images.clone()
    black[[i for i, name in enumerate(cache.patients) if name == "dark"]] = 0
    assert PatchCache(black, cache.classes, cache.patients, 2).stain.max() <= MOST


@pytest.mark.parametrize("make", ["mosaic", "bezier"])
def test_cells_of_several_patients_come_to_one_stain(make) -> None:
    """Within a class, the spread of grey in an image nearly goes; between classes it stays."""
    cache = stained_cache()
    spreads = {}
    for strength in (0.0, 1.0):
        if make == "mosaic":
            config = MosaicConfig(feather=0, harmonise=strength, cell=8)
            images, masks = mosaic(cache, 12, 32, config, seeded(1))
        else:
            blobs = BezierConfig(feather=0, harmonise=strength)
            images, masks = bezier(cache, 12, 32, blobs, seeded(1))
        grey = images[:, 1].float()
        found = [grey[i][masks[i] == k] for i in range(12) for k in range(2)]
        spreads[strength] = sum(float(f.std()) for f in found if len(f) > 1)
        assert float(grey[masks == 0].mean() - grey[masks == 1].mean()) > 30
    assert spreads[1.0] < 0.6 * spreads[0.0]


def test_exponents_lead_from_one_effect_to_another() -> None:
    effects = torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.1, -0.2]])
    rows = torch.tensor([[0, 1]])
    powers = exponents(effects, rows, torch.tensor([1]), 1.0)
    assert torch.allclose(powers[0, 0], (effects[1] - effects[0]).exp())
    assert torch.allclose(powers[0, 1], torch.ones(3))
    assert torch.allclose(exponents(effects, rows, torch.tensor([1]), 0.0), torch.ones(3))
