import numpy as np
import pytest
import torch
from torch import Tensor, nn

from histoweak.synthesis.bezier import bezier
from histoweak.synthesis.config import SynthesisConfig
from histoweak.synthesis.mosaic import mosaic
from histoweak.synthesis.online import FilterConfig, OnlineSynthesis
from tests.synthesis.fake import plain_cache, seeded

CONFIG = SynthesisConfig()


class Brightness(nn.Module):
    """A judge by the mean grey of an image: P(real) is `slope` times as steep about `middle`."""

    def __init__(self, middle: float, slope: float = 200.0) -> None:
        super().__init__()
        self.middle, self.slope = middle, slope
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        real = self.slope * (images.mean((1, 2, 3)) - self.middle)
        return torch.stack([torch.zeros_like(real), real], dim=1)


def probability(judge: nn.Module, images: Tensor) -> Tensor:
    return judge(images.float() / 255).softmax(dim=1)[:, 1]


def test_half_are_mosaics_and_half_are_blobs() -> None:
    cache = plain_cache((3, 4, 5))
    made = OnlineSynthesis(cache, 48, CONFIG)(6, seeded(1))
    generator = seeded(1)
    torch.rand(1, generator=generator)  # decides on what is left over of the halves
    parts = [make(cache, 3, 48, settings, generator)
             for make, settings in ((mosaic, CONFIG.mosaic), (bezier, CONFIG.bezier))]  # fmt: skip
    assert torch.equal(made.images, torch.cat([images for images, _ in parts]))
    assert torch.equal(made.masks, torch.cat([masks for _, masks in parts]))
    assert made.figures == {}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_either_kind_can_be_switched_off(share) -> None:
    config = CONFIG.model_copy(update={"mosaic_share": share})
    judge = Brightness(0.3)
    kinds = {"bezier": judge} if share else {"mosaic": judge}
    OnlineSynthesis(plain_cache((3, 4)), 32, config, judges=kinds)(3, seeded())
    assert judge.seen == 0


def test_a_step_draws_the_same_whatever_was_drawn_before() -> None:
    synthesis = OnlineSynthesis(plain_cache((3, 4, 5)), 48, CONFIG)
    first = synthesis(4, seeded(7))
    synthesis(5, seeded(8))
    again = synthesis(4, seeded(7))
    assert torch.equal(first.images, again.images) and torch.equal(first.masks, again.masks)
    assert not torch.equal(first.masks, synthesis(4, seeded(9)).masks)


def test_images_are_drawn_by_p_real() -> None:
    """A single image a step: over many steps, what looks real is seen more often."""
    judge = Brightness(0.23, slope=40)
    config = CONFIG.model_copy(update={"mosaic_share": 1.0})
    cache = plain_cache((3, 4, 5))

    def seen(judges: dict) -> Tensor:
        draw = OnlineSynthesis(cache, 32, config, judges=judges)
        return torch.cat([probability(judge, draw(1, seeded(i)).images) for i in range(200)])

    free, drawn = seen({}).numpy(), seen({"mosaic": judge}).numpy()
    rng = np.random.default_rng(0)
    candidates = rng.choice(free, (20_000, 4))
    shares = candidates / candidates.sum(1, keepdims=True)
    taken = [rng.choice(row, p=share) for row, share in zip(candidates, shares, strict=True)]
    assert np.mean(taken) > free.mean() + 0.05
    assert drawn.mean() == pytest.approx(np.mean(taken), abs=0.04)


def test_figures_tell_of_candidates_and_of_what_is_taken() -> None:
    judge = Brightness(0.25, slope=20)
    synthesis = OnlineSynthesis(plain_cache((3, 4, 5)), 48, CONFIG, judges={"mosaic": judge})
    made = synthesis(8, seeded(2))
    assert judge.seen == 4 * 4  # four candidates for each of four mosaics
    assert made.figures.keys() == {"accepted_mosaic", "passed_mosaic", "p_real_mosaic"}
    torch.testing.assert_close(
        made.figures["p_real_mosaic"], probability(judge, made.images[:4]).mean()
    )
    assert float(made.figures["accepted_mosaic"]) * 16 in range(17)


def test_the_hard_filter_takes_none_that_looks_made() -> None:
    judge = Brightness(0.25)
    rule = FilterConfig(mode="hard", rounds=50)
    judges = {"mosaic": judge, "bezier": judge}
    plain = OnlineSynthesis(plain_cache((3, 4, 5)), 48, CONFIG)(8, seeded(3))
    assert (probability(judge, plain.images) < 0.5).any()
    made = OnlineSynthesis(plain_cache((3, 4, 5)), 48, CONFIG, rule, judges)(8, seeded(3))
    assert (probability(judge, made.images) > 0.5).all()
    expected = {
        f"{name}_{kind}"
        for name in ("accepted", "passed", "p_real")
        for kind in ("mosaic", "bezier")
    }
    assert made.figures.keys() == expected
    assert made.figures["passed_bezier"] == 1 and made.figures["p_real_bezier"] > 0.5
    assert 0 < made.figures["accepted_mosaic"] <= 1
    # Images and masks still belong together: one grey per class.
    means = [made.images[:, 0][made.masks == k].float().median() for k in range(3)]
    assert means == [40, 60, 80]


def test_a_filter_that_accepts_nothing_ends_after_its_rounds() -> None:
    judge = Brightness(10.0)
    rule = FilterConfig(mode="hard", rounds=3)
    config = CONFIG.model_copy(update={"mosaic_share": 1.0})
    made = OnlineSynthesis(plain_cache((3, 4)), 32, config, rule, {"mosaic": judge})(5, seeded())
    assert len(made.images) == 5 and judge.seen == 15
    assert made.figures["accepted_mosaic"] == made.figures["passed_mosaic"] == 0


@pytest.mark.parametrize("mode", ["hard", "weight"])
def test_the_threshold_decides_what_is_accepted(mode) -> None:
    """A judge that is unsure, so that one half and 0.7 tell images apart."""
    config = CONFIG.model_copy(update={"mosaic_share": 1.0})
    rates = []
    for threshold in (0.5, 0.7):
        judge = Brightness(0.23, slope=40)
        rule = FilterConfig(mode=mode, threshold=threshold, rounds=60)
        made = OnlineSynthesis(plain_cache((3, 4, 5)), 48, config, rule, {"mosaic": judge})(
            16, seeded(3)
        )
        real = probability(judge, made.images)
        rates.append(float(made.figures["accepted_mosaic"]))
        assert mode == "weight" or (real > threshold).all()
    assert rates[0] > rates[1] > 0


def test_white_is_what_the_classes_say() -> None:
    cache = plain_cache((3, 4, 5), white=0.4)
    ignored = OnlineSynthesis(cache, 48, CONFIG)(4, seeded(5)).masks
    cache = plain_cache((3, 4, 5), white=0.4, white_index=2)
    found = OnlineSynthesis(cache, 48, CONFIG)(4, seeded(5)).masks
    white = ignored == 255
    assert white.any() and (found[white] == 2).all() and torch.equal(found[~white], ignored[~white])
