"""Boundary F and boundary IoU by loops over pairs of pixels, straight from their definitions."""

import math

import numpy as np

Pixels = set[tuple[int, int]]


def near(pixel: tuple[int, int], others: Pixels, reach_um: float, mpp: float) -> bool:
    """Whether another pixel's centre lies within `reach_um`."""
    return any(
        math.hypot(pixel[0] - y, pixel[1] - x) * mpp <= reach_um * (1 + 1e-9) for y, x in others
    )


def pixels(mask: np.ndarray, wanted: int, truth: np.ndarray) -> Pixels:
    """Scored pixels of one class."""
    return {(int(y), int(x)) for y, x in np.argwhere((mask == wanted) & (truth != 255))}


def edge(inside: Pixels, scored: Pixels) -> Pixels:
    """Pixels that share an edge with a scored pixel of another class."""
    steps = ((0, 1), (1, 0), (0, -1), (-1, 0))
    outside = scored - inside
    return {(y, x) for y, x in inside if any((y + dy, x + dx) in outside for dy, dx in steps)}


def scores(
    pred: np.ndarray, truth: np.ndarray, k: int, tolerance_um: float, mpp: float
) -> tuple[float, float]:
    """Boundary F and boundary IoU of class `k` in one image; NaN without any boundary."""
    scored = {(int(y), int(x)) for y, x in np.argwhere(truth != 255)}
    true, called = pixels(truth, k, truth), pixels(pred, k, truth)
    edge_true, edge_called = edge(true, scored), edge(called, scored)
    band_true = {p for p in true if near(p, scored - true, tolerance_um, mpp)}
    band_called = {p for p in called if near(p, scored - called, tolerance_um, mpp)}
    union = band_true | band_called
    overlap = len(band_true & band_called) / len(union) if union else math.nan
    if not edge_true and not edge_called:
        return math.nan, overlap
    if not edge_true or not edge_called:
        return 0.0, overlap
    met = [
        sum(near(p, others, tolerance_um, mpp) for p in own) / len(own)
        for own, others in ((edge_called, edge_true), (edge_true, edge_called))
    ]
    return (2 * met[0] * met[1] / sum(met) if sum(met) else 0.0), overlap
