import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from histoweak.objectives.evidence import (
    CELLS,
    absent_evidence_loss,
    present_evidence_loss,
    window_cells,
)

LABELS = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [0, 1, 1]])


def cells(windows: int = 5, classes: int = 3, gain: float = 3.0) -> torch.Tensor:
    return torch.randn(windows, classes, 7, generator=torch.Generator().manual_seed(3)) * gain


def posterior(cell: torch.Tensor) -> list[float]:
    exp = [math.exp(float(v)) for v in cell]
    return [v / sum(exp) for v in exp]


def test_cells_sample_the_map_at_their_centres() -> None:
    """On a map that rises evenly, bilinear sampling is exact."""
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    maps = torch.stack([2 * x + 3 * y, -x])[None]
    boxes = torch.tensor([[0.0, 20, 12, 90, 61]])
    found = window_cells(maps, boxes, 1 / 8)[0].view(2, CELLS, CELLS)
    for i, j in np.ndindex(CELLS, CELLS):
        # In units of the map, whose first cell has its centre at 0.5.
        row = (12 + (i + 0.5) * 49 / CELLS) / 8 - 0.5
        column = (20 + (j + 0.5) * 70 / CELLS) / 8 - 0.5
        assert float(found[0, i, j]) == pytest.approx(2 * column + 3 * row, abs=1e-4)
        assert float(found[1, i, j]) == pytest.approx(-column, abs=1e-4)


def test_with_two_classes_absent_evidence_is_the_softplus_of_the_difference() -> None:
    maps = cells(4, 2)
    labels = torch.tensor([[1.0, 0], [1, 0], [1, 1], [1, 0]])
    difference = maps[:, 1] - maps[:, 0]
    expected = F.softplus(difference[[0, 1, 3]]).mean()
    torch.testing.assert_close(absent_evidence_loss(maps, labels), expected)


def test_absent_evidence_is_the_log_of_what_present_classes_hold() -> None:
    terms = []
    for window in (0, 1, 4):  # those that lack a class, and hold one
        for cell in range(7):
            p = posterior(cells()[window, :, cell])
            terms.append(-math.log(sum(p[k] for k in range(3) if LABELS[window, k])))
    assert float(absent_evidence_loss(cells(), LABELS)) == pytest.approx(np.mean(terms), rel=1e-5)


@pytest.mark.parametrize(("share", "count"), [(0.05, 1), (0.3, 2), (0.5, 4), (1.0, 7)])
def test_present_evidence_asks_the_likeliest_cells_of_each_class(share, count) -> None:
    terms = []
    for window in (1, 2, 4):  # those of several classes
        for k in range(3):
            if LABELS[window, k]:
                logs = [math.log(posterior(cells()[window, :, c])[k]) for c in range(7)]
                terms.append(-np.mean(sorted(logs, reverse=True)[:count]))
    found = float(present_evidence_loss(cells(), LABELS, share))
    assert found == pytest.approx(np.mean(terms), rel=1e-5)


@pytest.mark.parametrize("labels", [LABELS[[2, 3]], LABELS[:0]])
def test_where_nothing_is_absent_the_loss_is_zero_and_can_be_derived(labels) -> None:
    maps = cells(len(labels)).requires_grad_()
    loss = absent_evidence_loss(maps, labels)
    loss.backward()
    assert float(loss.detach()) == 0 and maps.grad is not None and (maps.grad == 0).all()


@pytest.mark.parametrize("labels", [LABELS[[0, 3]], LABELS[:0]])
def test_where_no_patch_has_several_classes_the_loss_is_zero_too(labels) -> None:
    maps = cells(len(labels)).requires_grad_()
    loss = present_evidence_loss(maps, labels, 0.1)
    loss.backward()
    assert float(loss.detach()) == 0 and maps.grad is not None and (maps.grad == 0).all()


def test_strong_evidence_gives_finite_gradients() -> None:
    maps = cells(gain=1e4).requires_grad_()
    (absent_evidence_loss(maps, LABELS) + present_evidence_loss(maps, LABELS, 0.3)).backward()
    assert maps.grad is not None and maps.grad.isfinite().all()
