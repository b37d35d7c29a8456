import weakref
from itertools import permutations

import pytest
import torch
from torch import nn

from histoweak.errors import ConfigError
from histoweak.synthesis.authenticity import (
    Discriminator,
    DiscriminatorConfig,
    accepted,
    discriminator_loss,
    p_real,
    weighted,
)
from tests.synthesis.fake import seeded


class Grey(nn.Module):
    """Takes an image for real by as much as it is bright."""

    def forward(self, images):
        grey = images.mean(dim=(1, 2, 3)).clamp(1e-4, 1 - 1e-4)
        return torch.stack([torch.zeros_like(grey), torch.logit(grey)], dim=1)


def greys(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def test_probability_is_that_of_the_second_logit() -> None:
    images = torch.randint(0, 256, (130, 3, 4, 4), generator=seeded(), dtype=torch.uint8)
    expected = (images.float() / 255).mean(dim=(1, 2, 3))
    assert torch.allclose(p_real(Grey(), images), expected, atol=1e-4)
    assert torch.allclose(p_real(Grey(), images.float() / 255), expected, atol=1e-4)
    assert p_real(Grey(), images[:0]).shape == (0,)


def test_loss_is_cross_entropy_with_real_as_one() -> None:
    real, synthetic = torch.full((3, 3, 2, 2), 0.9), torch.full((5, 3, 2, 2), 0.4)
    losses = discriminator_loss(Grey(), real, synthetic)
    expected = -(3 * torch.tensor(0.9).log() + 5 * torch.tensor(0.6).log()) / 8
    assert float(losses["loss"]) == pytest.approx(float(expected), abs=1e-5)
    assert float(losses["accuracy"]) == 1
    assert float(discriminator_loss(Grey(), synthetic, real)["accuracy"]) == 0


def test_accepted_are_the_first_above_one_half() -> None:
    values = iter([[10, 200, 20], [250, 30, 140], [255, 255, 255]])

    def make(n):
        images = greys(next(values))
        return images, images[:, 0]

    images, masks, real, rate = accepted(make, Grey(), 3)
    assert torch.allclose(real, images[:, 0, 0, 0] / 255, atol=1e-4)
    assert images[:, 0, 0, 0].tolist() == [200, 250, 140]
    assert torch.equal(images[:, 0], masks) and rate == 0.5


def test_a_strict_discriminator_is_not_waited_for() -> None:
    """After the last round the most real-looking fill the batch."""

    def make(n):
        images = greys([10, 120, 20])
        return images, images[:, 0]

    images, _, _, rate = accepted(make, Grey(), 3, rounds=2)
    assert images[:, 0, 0, 0].tolist() == [120, 120, 20] and rate == 0


@pytest.mark.parametrize("seed", range(20))
def test_accepted_come_first_and_then_the_best_whatever_the_rounds(seed) -> None:
    """Against a sort of all candidates at once."""
    rounds = iter(torch.randint(0, 256, (5, 4), generator=seeded(seed)).tolist())
    seen: list[int] = []

    def make(n):
        values = next(rounds)
        seen.extend(values)
        return greys(values), greys(values)[:, 0]

    images, _, _, rate = accepted(make, Grey(), 4, threshold=0.801, rounds=5)
    passed = [v for v in seen if v / 255 > 0.801]
    rest = sorted((v for v in seen if v / 255 <= 0.801), reverse=True)
    assert images[:, 0, 0, 0].tolist() == [*passed, *rest][:4]
    assert float(rate) == pytest.approx(len(passed) / len(seen)) and (
        len(passed) >= 4 or len(seen) == 20
    )


def test_rejected_candidates_are_let_go() -> None:
    made: list[weakref.ref] = []
    alive = []

    def make(n):
        alive.append(sum(ref() is not None for ref in made))
        images = greys([10, 120, 20]).clone()
        made.append(weakref.ref(images))
        return images, images[:, 0]

    accepted(make, Grey(), 3, rounds=12)
    assert len(alive) == 12 and max(alive) <= 1


def draws(values: list[int], n: int, rounds: int, times: int = 2000) -> list[tuple[int, ...]]:
    """What is drawn of candidates of these greys, a part of them in each round."""
    found = []
    for seed in range(times):
        parts = iter([values[i * n : (i + 1) * n] for i in range(rounds)])

        def make(count: int, parts=parts):
            images = greys(next(parts))
            assert len(images) == count
            return images, images[:, 0]

        images, masks, _, _ = weighted(make, Grey(), n, generator=seeded(seed), rounds=rounds)
        assert torch.equal(images[:, 0], masks)
        found.append(tuple(images[:, 0, 0, 0].tolist()))
    return found


def test_one_is_drawn_in_proportion_to_p_real() -> None:
    values = [20, 60, 120, 200]
    found = draws(values, 1, rounds=4)
    for value in values:
        share = sum(drawn == (value,) for drawn in found) / len(found)
        assert share == pytest.approx(value / sum(values), abs=0.035)


def test_several_are_drawn_one_after_the_other_without_replacement() -> None:
    """Against the probabilities of all ordered pairs, by hand."""
    values = [20, 60, 120, 200]
    found = draws(values, 2, rounds=2)
    for first, second in permutations(values, 2):
        expected = first / sum(values) * second / (sum(values) - first)
        share = sum(drawn == (first, second) for drawn in found) / len(found)
        assert share == pytest.approx(expected, abs=0.035)


def test_candidates_that_are_all_rejected_are_drawn_alike() -> None:
    """P(real) of 0 and of 1e-4 both count as 0.01."""
    found = draws([0, 0, 1, 1], 1, rounds=4)
    assert sum(drawn == (1,) for drawn in found) / len(found) == pytest.approx(0.5, abs=0.04)


def test_width_narrows_a_resnet() -> None:
    torch.manual_seed(0)
    narrow = Discriminator(DiscriminatorConfig(width=0.25))
    assert sum(p.numel() for p in narrow.parameters()) < 1_000_000
    assert narrow(torch.rand(2, 3, 37, 37)).shape == (2, 2)
    with pytest.raises(ConfigError, match="no-such-network"):
        Discriminator(DiscriminatorConfig(encoder="no-such-network"))
