import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from histoweak.data.frames import Frame, FrameStore
from histoweak.data.instances import (
    InstanceStore,
    cut,
    lattice,
    lattice_size,
    lattices,
    tissue,
    write_instances,
)


def test_a_lattice_covers_its_window_from_border_to_border():
    squares = lattice(torch.tensor([[2.0, 10, 20, 74, 84]]), 4, 16)
    expected = [[2, 10 + 16 * c, 20 + 16 * r, 26 + 16 * c, 36 + 16 * r]
                for r in range(4) for c in range(4)]  # fmt: skip
    assert squares[0].tolist() == expected


@given(st.integers(1, 6), st.integers(4, 40), st.floats(0, 1), st.floats(0, 1))
def test_a_moved_lattice_stays_in_its_window(number, side, x, y):
    window = torch.tensor([[0.0, 3, 5, 3 + number * side, 5 + number * side]])
    squares = lattice(window, number, side, torch.tensor([[x, y]]))[0]
    assert len(squares) == number**2
    assert squares[:, 1].min() >= 3 - 1e-3 and squares[:, 3].max() <= 3 + number * side + 1e-3
    assert squares[:, 2].min() >= 5 - 1e-3 and squares[:, 4].max() <= 5 + number * side + 1e-3
    torch.testing.assert_close(squares[:, 3] - squares[:, 1], torch.full((number**2,), float(side)))


def test_a_square_larger_than_its_window_lies_around_its_middle():
    square = lattice(torch.tensor([[0.0, 10, 10, 20, 20]]), 1, 16)
    assert square[0, 0].tolist() == [0, 7, 7, 23, 23]


@pytest.mark.parametrize(
    ("window", "side", "number"),
    [(128, 32, 4), (107, 48, 3), (37, 32, 2), (34, 32, 1), (10, 32, 1)],
)
def test_as_many_instances_as_cover_the_window(window, side, number):
    assert lattice_size(window, side) == number
    squares = lattice(torch.tensor([[0.0, 0, 0, window, window]]), number, side)
    covered = torch.zeros(window)
    for left, right in squares[0, :, [1, 3]].tolist():
        covered[max(0, round(left)) : round(right)] = 1
    assert (1 - covered).sum() <= 0.1 * side


def test_every_window_has_the_lattice_of_its_own_size():
    """A patch of 128 px beside coarse instances of 64, one of which is no square."""
    boxes = torch.tensor([[0.0, 0, 0, 128, 128], [0, 64, 0, 128, 64], [1, 0, 0, 32, 64]])
    squares, real = lattices(boxes, 32)
    assert squares.shape == (3, 16, 5) and real.sum(1).tolist() == [16, 4, 4]
    assert squares[0].tolist() == [
        [0, x, y, x + 32, y + 32] for y in range(0, 128, 32) for x in range(0, 128, 32)
    ]
    assert squares[1, :4].tolist() == [[0, x, y, x + 32, y + 32] for y in (0, 32) for x in (64, 96)]
    assert not squares[1, 4:, 1:].any() and not real[1:, 4:].any()
    shift = torch.tensor([[0.0, 0], [1, 0.5], [0, 0]])
    room = torch.tensor([[0.0, 64, 0, 144, 80]]).expand(3, 5)
    moved, real = lattices(room, 32, shift)
    for i in range(3):
        torch.testing.assert_close(moved[i], lattice(room[[i]], 3, 32, shift[[i]])[0])
    nothing, real = lattices(torch.zeros(0, 5), 32)
    assert not len(nothing) and not len(real)


def test_beyond_the_border_the_image_is_repeated():
    images = torch.rand(2, 3, 12, 9)
    squares = torch.tensor([[[1.0, -4, 2, 12, 18], [0, 0, 0, 16, 16]]])
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (0, 6), (4, 7)), mode="edge")
    pieces = cut(images, squares, 16)
    np.testing.assert_allclose(pieces[0, 0], padded[1, :, 2:18, :16], atol=1e-6)
    np.testing.assert_allclose(pieces[0, 1], padded[0, :, :16, 4:20], atol=1e-6)
    assert cut(images, squares[:, :0], 16).shape == (1, 0, 3, 16, 16)


def test_whole_pixel_squares_are_cut_as_they_are():
    images = torch.rand(2, 3, 24, 30)
    squares = torch.tensor([[[1.0, 4, 6, 12, 14], [0, 0, 0, 8, 8]]])
    pieces = cut(images, squares, 8)
    torch.testing.assert_close(pieces[0, 0], images[1, :, 6:14, 4:12])
    torch.testing.assert_close(pieces[0, 1], images[0, :, :8, :8])


def test_white_squares_hold_no_tissue():
    images = torch.full((1, 3, 16, 32), 255, dtype=torch.uint8)
    images[..., 16:] = 120
    squares = torch.tensor([[[0.0, 0, 0, 16, 16], [0, 16, 0, 32, 16], [0, 12, 0, 28, 16]]])
    assert tissue(images, squares, 220, 0.5).tolist() == [[False, True, True]]
    assert tissue(images, squares, 220, 0.2).tolist() == [[False, True, False]]
    assert tissue(images, squares, 255, 0.0).all()
    # Half of the first lies beyond the image, and so do three quarters of the second.
    out = torch.tensor([[[0.0, 24, 0, 40, 16], [0, 24, 8, 40, 24]]])
    assert tissue(images, out, 220, 0.6).tolist() == [[True, False]]


def test_instances_are_read_back_as_windows_of_their_frames(tmp_path):
    frame = Frame("a", "p", "s", "train", 8, 8, 0, 1.0, ((0, 0, 8, 8),), ((1, 0),), ("a.png",))
    rows = [{**vars(frame), "name": name} for name in ("a", "b")]
    import json

    (tmp_path / "frames.json").write_text(json.dumps(rows))
    np.arange(192, dtype=np.uint8).tofile(tmp_path / "images.u8")
    boxes = [np.array([[0.0, 0, 4, 4], [2, 2, 6, 6]]), np.zeros((0, 4))]
    labels = [np.array([[1, 0], [-1, 0]]), np.zeros((0, 2))]
    write_instances(tmp_path / "instances.json", boxes, labels)
    store = pickle.loads(pickle.dumps(InstanceStore(tmp_path, tmp_path / "instances.json")))  # noqa: S301
    assert store.frames[0].boxes == ((0, 0, 4, 4), (2, 2, 6, 6))
    assert store.frames[0].labels == ((1, 0), (-1, 0)) and store.frames[1].boxes == ()
    assert np.array_equal(store.image(0), FrameStore(tmp_path).image(0))
