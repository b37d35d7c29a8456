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


@pytest.mark.parametrize(("window", "side", "number"), [(128, 32, 4), (37, 32, 1), (10, 32, 1)])
def test_as_many_instances_as_fit(window, side, number):
    assert lattice_size(window, side) == number


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
