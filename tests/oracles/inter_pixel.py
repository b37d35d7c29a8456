"""Pairs, paths, affinities and the dense transition matrix, pixel by pixel as the paper states."""

import math

import numpy as np


def neighbours(radius: int) -> list[tuple[int, int]]:
    """All displacements shorter than the radius but none; both directions of each pair."""
    near = range(-radius, radius + 1)
    return [(y, x) for y in near for x in near if 0 < math.hypot(y, x) < radius]


def path_of(dy: int, dx: int) -> list[tuple[int, int]]:
    """Lattice points of the spanned box closer than 1 to the straight line."""
    rows = range(min(0, dy), max(0, dy) + 1)
    columns = range(min(0, dx), max(0, dx) + 1)
    length = math.hypot(dy, dx)
    return [(y, x) for y in rows for x in columns if abs(y * dx - x * dy) / length < 1 - 1e-12]


def affinity(boundary: np.ndarray, y: int, x: int, dy: int, dx: int) -> float:
    """1 minus the strongest boundary between two pixels."""
    return 1 - max(float(boundary[y + a, x + b]) for a, b in path_of(dy, dx))


def dense_transition(boundary: np.ndarray, radius: int, beta: float) -> np.ndarray:
    """(N, N) matrix whose columns sum to 1, in 64 bits."""
    height, width = boundary.shape
    matrix = np.eye(height * width)
    for y in range(height):
        for x in range(width):
            for dy, dx in neighbours(radius):
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    other = (y + dy) * width + x + dx
                    matrix[y * width + x, other] = affinity(boundary, y, x, dy, dx) ** beta
    return matrix / matrix.sum(axis=0)
