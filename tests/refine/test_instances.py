import numpy as np
import torch

from histoweak.refine.instances import carried, components, instance_map


def test_pixels_are_carried_as_a_loop_carries_them() -> None:
    field = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(0)) * 2
    plain = field.numpy()
    places = carried(field, steps=4).numpy()
    for y in range(6):
        for x in range(7):
            row, column = float(y), float(x)
            for _ in range(4):
                top, left = min(int(row), 4), min(int(column), 5)
                down, right = row - top, column - left
                corner = plain[:, top : top + 2, left : left + 2]
                move = (1 - down) * ((1 - right) * corner[:, 0, 0] + right * corner[:, 0, 1])
                move = move + down * ((1 - right) * corner[:, 1, 0] + right * corner[:, 1, 1])
                row = min(max(row + move[0], 0.0), 5.0)
                column = min(max(column + move[1], 0.0), 6.0)
            assert np.allclose(places[:, y, x], [row, column], atol=1e-4)


def test_two_centres_make_two_instances_on_any_size() -> None:
    columns = torch.arange(30.0).expand(12, 30)
    rows = torch.arange(12.0)[:, None].expand(12, 30)
    centre = torch.where(columns < 15, 7.0, 22.0)
    found = instance_map(torch.stack([6 - rows, centre - columns]))
    assert set(np.unique(found)) == {1, 2}
    assert (found[:, :15] == found[0, 0]).all() and (found[:, 15:] == found[0, 29]).all()
    assert instance_map(torch.zeros(2, 1, 1)).tolist() == [[1]]
    assert not instance_map(torch.full((2, 3, 3), 9.0)).any()


def test_small_areas_are_no_instances() -> None:
    winners = np.array([[0, 0, -1, 1], [0, 0, -1, -1], [-1, -1, 0, 0]], np.int32)
    assert components(winners, 2).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 2, 2]]
    assert components(winners, 1).max() == 3
