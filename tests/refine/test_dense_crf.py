import numpy as np
import pytest
import torch

from histoweak.refine import dense_crf as crf
from histoweak.refine import neighbours
from histoweak.refine.colors import colors_of
from histoweak.refine.crf_config import PRESETS, CrfConfig
from histoweak.refine.shrinking import enlarge, shrink
from tests.inference.models import picture
from tests.oracles.fully_connected import marginals

SIZE = (16, 20)
EVERYTHING = 1000.0
"""A window in standard deviations that holds the whole image."""


def example(batch: int = 1, labels: int = 3, size=SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 3, H, W) in [0, 1] and scores (B, L, H, W) that sum to 1, in double precision."""
    seen = [torch.from_numpy(picture(*size, seed=i).copy()) for i in range(batch)]
    images = torch.stack(seen).permute(0, 3, 1, 2).double() / 255
    noise = torch.from_numpy(np.random.default_rng(0).random((batch, labels, *size)))
    bright = images.mean(1, keepdim=True) * torch.arange(labels).view(1, -1, 1, 1)
    return images, (3 * bright + 4 * noise).softmax(1)


def exact(preset: str, **settings) -> CrfConfig:
    return CrfConfig(preset=preset, window=EVERYTHING, shrink=1, blur=0, **settings)


@pytest.mark.parametrize("preset", [*PRESETS])
def test_a_window_that_holds_everything_is_the_fully_connected_crf(preset) -> None:
    config = exact(preset)
    images, scores = example(batch=2)
    unary = crf.score_unary(scores)
    found = crf.dense_crf(images, unary, config)
    single = crf.dense_crf(images.float(), unary.float(), config)
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        colors = image * 255 if config.space == "rgb" else -np.log(np.maximum(image, 1 / 255))
        expected = marginals(colors, unary[i].numpy(), config)
        np.testing.assert_allclose(found[i].numpy(), expected, atol=1e-9)
        # In single precision, after all iterations and with weights of up to 80 nats.
        np.testing.assert_allclose(single[i].numpy(), expected, atol=2e-3)
    assert (found.argmax(1) != scores.argmax(1)).float().mean() > 0.05


def test_nothing_but_far_pairs_is_lost_by_the_window() -> None:
    images, scores = example(size=(24, 30))
    unary = crf.score_unary(scores)
    settings = {"gaussian": {"sigma": 2, "weight": 2}, "blur": 0, "shrink": 1}
    settings["bilateral"] = {"sigma": 4, "color": 0.3, "weight": 4}
    whole = crf.dense_crf(images, unary, CrfConfig(**settings, window=EVERYTHING))
    lost = [
        float((crf.dense_crf(images, unary, CrfConfig(**settings, window=w)) - whole).abs().max())
        for w in (1.5, 2.0, 3.0, 4.0)
    ]
    assert lost == sorted(lost, reverse=True)
    assert lost[2] < 0.02 and lost[3] < 1e-3 < lost[0]


def test_kernels_not_kept_in_memory_and_cut_into_bands_are_the_same(monkeypatch) -> None:
    images, scores = example()
    unary, config = crf.score_unary(scores), exact("histosegnet")
    whole = crf.dense_crf(images, unary, config)
    monkeypatch.setattr(neighbours, "CACHE_BYTES", 0)
    monkeypatch.setattr(neighbours, "BAND_VALUES", {"cpu": 20 * 3})
    torch.testing.assert_close(crf.dense_crf(images, unary, config), whole)


def test_large_images_in_parts_are_nearly_the_same(monkeypatch) -> None:
    images, scores = example(size=(120, 30))
    bilateral = {"sigma": 4, "color": 0.15, "weight": 4}
    config = CrfConfig(bilateral=bilateral, gaussian={"sigma": 2, "weight": 1}, shrink=2, blur=0)
    unary = crf.score_unary(scores)
    whole = crf.dense_crf(images, unary, config)
    monkeypatch.setattr(crf, "MOST_PIXELS", 15 * 20)  # shrunk: parts of 40 rows and a halo of 24
    parts = crf.dense_crf(images, unary, config)
    assert parts.shape == whole.shape
    assert 0 < float((parts - whole).abs().max()) < 0.02


def test_a_step_looks_at_some_neighbours_only_and_finds_about_the_same() -> None:
    images, scores = example(size=(30, 36))
    unary = crf.score_unary(scores)
    settings = {"preset": "irn", "bilateral": {"sigma": 8, "color": 40, "weight": 5}}
    fine = crf.dense_crf(images, unary, CrfConfig(**settings))
    coarse = crf.dense_crf(images, unary, CrfConfig(**settings, step=2))
    assert (fine - coarse).abs().mean() < 0.02 and not torch.equal(fine, coarse)
    kernel = neighbours.BilateralKernel(images, 8.0, 1e6, window=3.0, step=2)
    assert all(p.there[0].start - p.here[0].start in range(0, 25, 2) for p in kernel.pairs)


def test_shrinking_a_picture_of_blocks_is_the_crf_of_its_blocks() -> None:
    images, scores = example(size=(10, 13))
    blocks = [t.repeat_interleave(2, 2).repeat_interleave(2, 3) for t in (images, scores)]
    bilateral, gaussian = {"sigma": 4, "color": 30, "weight": 5}, {"sigma": 2, "weight": 2}
    large = CrfConfig(preset="irn", bilateral=bilateral, gaussian=gaussian, shrink=2)
    halved = {"bilateral": {**bilateral, "sigma": 2}, "gaussian": {**gaussian, "sigma": 1}}
    small = CrfConfig(preset="irn", **halved)
    unary = [crf.score_unary(s) for s in (blocks[1], scores)]
    expected = crf.dense_crf(images, unary[1], small)
    found = crf.dense_crf(blocks[0], unary[0], large)
    # The message is enlarged bilinearly; where it is even, blocks and pixels agree.
    assert (found[:, :, ::2, ::2].argmax(1) == expected.argmax(1)).float().mean() > 0.9
    assert found.shape == blocks[1].shape


def test_odd_sizes_are_shrunk_and_enlarged_in_place() -> None:
    values = torch.arange(35.0).view(1, 1, 5, 7)
    small = shrink(values, 2)
    assert small.shape == (1, 1, 3, 4) and small[0, 0, 2, 3] == 34
    assert small[0, 0, 0, 0] == (0 + 1 + 7 + 8) / 4
    assert enlarge(small, 2, values).shape == values.shape


@pytest.mark.parametrize("confidence", [0.7, 0.9])
def test_hard_labels_are_right_with_their_confidence(confidence) -> None:
    labels = torch.tensor([[[0, 2], [1, 2]]])
    probs = (-crf.label_unary(labels, 3, confidence)).exp()
    torch.testing.assert_close(probs.sum(1), torch.ones(1, 2, 2))
    torch.testing.assert_close(probs.amax(1), torch.full((1, 2, 2), confidence))
    assert (probs.argmax(1) == labels).all()


def test_a_constant_rest_competes_and_is_left_out() -> None:
    images = torch.full((1, 3, 8, 8), 0.5)
    scores = torch.full((1, 2, 8, 8), 0.02)
    scores[:, 1, :, 4:] = 0.9
    alone = {"bilateral": None, "gaussian": {"sigma": 3, "weight": 3}, "shrink": 1}
    found = crf.refine_crf(images, scores, CrfConfig(**alone, rest=0.3))
    assert found.shape == scores.shape
    assert (found[0, :, :, 0].sum(0) < 0.1).all() and (found[0, 1, :, 7] > 0.8).all()
    without = crf.refine_crf(images, scores, CrfConfig(**alone))
    torch.testing.assert_close(without.sum(1), torch.ones(1, 8, 8))


def test_pixels_without_a_score_stay_so_or_are_filled_by_those_around_them() -> None:
    # The released unary of such pixels: the logarithm of the least score, for every class.
    images, scores = example(size=(12, 14))
    scores[:, :, 4:8, 5:9] = 0
    hole = scores.amax(1) == 0
    kept = crf.refine_crf(images, scores, exact("histosegnet"))
    filled = crf.refine_crf(images, scores, exact("histosegnet", fill=True))
    unary = -np.log(np.clip(scores[0].numpy(), 1e-5, 1))
    image = images[0].permute(1, 2, 0).numpy() * 255
    expected = marginals(image, unary, exact("histosegnet"))
    np.testing.assert_allclose(filled[0].numpy(), expected, atol=1e-9)
    assert (kept.amax(1)[hole] == 0).all() and torch.equal(kept.amax(1) == 0, hole)
    lone = crf.refine_crf(images, scores[:, :1], exact("histosegnet", fill=True))
    torch.testing.assert_close(lone, torch.ones_like(lone))


def test_a_lone_class_has_no_rival() -> None:
    images, scores = example(labels=1)
    scores = scores * 0.4
    assert torch.equal(crf.refine_crf(images, scores, CrfConfig()), scores)
    assert not torch.equal(crf.refine_crf(images, scores, CrfConfig(rest=0.3)), scores)


def test_images_whose_kernels_do_not_fit_together_are_done_in_turn(monkeypatch) -> None:
    images, scores = example(batch=3)
    unary, config = crf.score_unary(scores), exact("wsss-analysis")
    together = crf.dense_crf(images, unary, config)
    monkeypatch.setattr(crf, "CACHE_BYTES", 1.1 * crf.kept_bytes(SIZE, 40, EVERYTHING, 1))
    assert crf._group(images, config) == 1
    torch.testing.assert_close(crf.dense_crf(images, unary, config), together)


def test_where_no_class_scores_none_is_invented() -> None:
    images, scores = example(labels=2)
    scores[..., :4] = 0
    found = crf.refine_crf(images, scores, CrfConfig(shrink=2))
    assert (found[..., :4] == 0).all()
    torch.testing.assert_close(found[..., 4:].sum(1), torch.ones(1, 16, 16).double())


def test_stain_is_compared_in_optical_density() -> None:
    density = torch.tensor([0.0, 0.4, 1.5])
    images = torch.exp(-density).view(1, 3, 1, 1)
    torch.testing.assert_close(colors_of(images, "od", 0.0).flatten(), density)
    assert colors_of(torch.zeros(1, 3, 1, 1), "od", 0.0).isfinite().all()
    torch.testing.assert_close(colors_of(images, "rgb", 0.0), images * 255)
    flat = torch.full((1, 3, 9, 9), 0.3)
    torch.testing.assert_close(colors_of(flat, "od", 2.0), colors_of(flat, "od", 0.0))


def test_noise_within_a_region_goes_and_its_edge_stays() -> None:
    truth = torch.zeros(48, 48, dtype=torch.long)
    truth[10:40, 12:34] = 1
    image = torch.where(truth.bool(), 0.3, 0.8).expand(1, 3, -1, -1).clone()
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(48, 48, generator=generator) < 0.2
    seen = torch.where(wrong, 1 - truth, truth)
    scores = torch.where(torch.stack([1 - seen, seen]).bool(), 0.7, 0.3)[None]
    found = crf.refine_crf(image, scores, CrfConfig()).argmax(1)[0]
    assert wrong.float().mean() > 0.15 and (found != truth).float().mean() < 0.03
