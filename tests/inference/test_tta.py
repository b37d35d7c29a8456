import pytest
import torch

from histoweak.inference.tta import augmented


def turned(x, k, flip):
    x = torch.rot90(x, k, (-2, -1))
    return torch.flip(x, (-1,)) if flip else x


def turned_back(x, k, flip):
    x = torch.flip(x, (-1,)) if flip else x
    return torch.rot90(x, -k, (-2, -1))


def gradient(x):
    """Not symmetric: depends on the position within the tile and on neighbours."""
    place = torch.arange(x.shape[-1]) + 10 * torch.arange(x.shape[-2])[:, None]
    return x * place + torch.roll(x, (1, 2), (-2, -1))


@pytest.mark.parametrize(
    ("tta", "orientations"),
    [
        ("none", [(0, False)]),
        ("flips", [(0, False), (2, False), (0, True), (2, True)]),
        ("d4", [(k, flip) for k in range(4) for flip in (False, True)]),
    ],
)
@pytest.mark.parametrize("pixels", [1, 35 * 3, 10**6])
def test_it_is_the_mean_over_rotations_and_mirror_images(tta, orientations, pixels):
    x = torch.rand(2, 3, 5, 7)
    views = [turned_back(gradient(turned(x, k, f)), k, f) for k, f in orientations]
    torch.testing.assert_close(augmented(gradient, tta, pixels)(x), torch.stack(views).mean(0))


def test_d4_makes_the_result_turn_with_the_image():
    fn, x = augmented(gradient, "d4", 100), torch.rand(1, 2, 6, 9)
    torch.testing.assert_close(fn(torch.rot90(x, 1, (2, 3))), torch.rot90(fn(x), 1, (2, 3)))


def test_no_more_pixels_than_allowed_are_computed_at_once():
    seen = []

    def fn(x):
        seen.append(x.shape[0] * x.shape[-2] * x.shape[-1])
        return x

    augmented(fn, "d4", 3 * 35)(torch.rand(1, 2, 5, 7))
    assert sum(seen) == 8 * 35 and max(seen) == 3 * 35
