"""How much faster the walk of `irn` is than the power of the dense matrix, and the paths with it.

    python benchmarks/random_walk.py [--side 40] [--steps 256]

The straightforward way, that of released code: a dense N x N matrix of the affinities of all pixels
of the map, squared until the power is reached, then multiplied with the scores. Here: flows between
shifted maps, and a sum of Chebyshev polynomials for many steps. Same affinities, same result. The
second table compares the highest value on every path, looked up pixel by pixel or put together from
shorter paths, forwards and backwards as in training.
"""

import argparse
import time
from collections.abc import Callable

import torch
from scipy.sparse import csr_array
from torch import Tensor

from histoweak.refine.paths import displacements, path, path_maxima
from histoweak.refine.random_walk import Transition, random_walk

RADIUS, BETA, CLASSES = 5, 10.0, 2


def dense_walk(scores: Tensor, boundary: Tensor, steps: int) -> Tensor:
    """Scores (1, K, h, w) times a power of the dense matrix, by repeated squaring."""
    height, width = boundary.shape[1:]
    places = torch.arange(height * width).view(1, height, width)
    matrix = torch.eye(height * width)
    for ends, weight in Transition(boundary, RADIUS, BETA).pairs:
        first, second = ends.first(places).flatten(), ends.second(places).flatten()
        matrix[first, second] = matrix[second, first] = weight.flatten()
    power = matrix / matrix.sum(dim=0)
    for _ in range(steps.bit_length() - 1):
        power = power @ power
    return (scores.flatten(2) @ power).view_as(scores)


def sparse_walk(scores: Tensor, boundary: Tensor, steps: int) -> Tensor:
    """The same, one product with a sparse matrix after the other (scipy, 32 bits)."""
    places = torch.arange(boundary[0].numel()).view_as(boundary)
    rows, columns, values = [places.flatten()], [places.flatten()], [torch.ones(places.numel())]
    for ends, weight in Transition(boundary, RADIUS, BETA).pairs:
        first, second = ends.first(places).flatten(), ends.second(places).flatten()
        rows += [first, second]
        columns += [second, first]
        values += [weight.flatten()] * 2
    entries = (torch.cat(values).numpy(), (torch.cat(rows).numpy(), torch.cat(columns).numpy()))
    matrix = csr_array(entries)
    matrix = matrix.multiply(1 / matrix.sum(axis=1)[:, None]).tocsr()
    walked = scores.flatten(2)[0].T.numpy()
    for _ in range(steps):
        walked = matrix @ walked
    return torch.from_numpy(walked.T.copy()).view_as(scores)


def step_by_step(scores: Tensor, boundary: Tensor, steps: int) -> Tensor:
    """The same one application after the other."""
    transition = Transition(boundary, RADIUS, BETA)
    for _ in range(steps):
        scores = transition(scores)
    return scores


def gathered(values: Tensor, radius: int) -> list[Tensor]:
    """Highest value on every path, all its pixels looked up and stacked."""
    height, width = values.shape[-2:]
    found = []
    for dy, dx in displacements(radius):
        rows, columns, left = height - dy, width - abs(dx), max(0, -dx)
        views = [
            values[..., y : y + rows, left + x : left + x + columns]
            for y, x in sorted(path((dy, dx)))
        ]
        found.append(torch.stack(views).amax(dim=0))
    return found


def composed(values: Tensor, radius: int) -> list[Tensor]:
    """The same from shorter paths."""
    return [highest for _, highest in path_maxima(values, radius)]


def timed(work: Callable[[], Tensor], repeat: int) -> tuple[float, Tensor]:
    """Shortest wall time of a few calls, and the result."""
    spent = []
    for _ in range(repeat):
        began = time.perf_counter()
        result = work()
        spent.append(time.perf_counter() - began)
    return min(spent), result


def trained(maxima: Callable[[Tensor, int], list[Tensor]], values: Tensor) -> Tensor:
    """Gradient of the sum of all maxima at the radius of training."""
    values = values.clone().requires_grad_()
    total = torch.stack([highest.square().sum() for highest in maxima(values, 10)]).sum()
    return torch.autograd.grad(total, values)[0]


def main() -> None:
    """Time all ways on the same maps, check that they agree, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=56)
    parser.add_argument("--steps", type=int, default=256, help="a power of two")
    options = parser.parse_args()
    side, steps = options.side, options.steps
    generator = torch.Generator().manual_seed(0)
    boundary = torch.rand(1, side, side, generator=generator) ** 3
    scores = torch.rand(1, CLASSES, side, side, generator=generator)
    with torch.no_grad():
        walks = {
            "dense matrix, squared": timed(lambda: dense_walk(scores, boundary, steps), 1),
            "sparse matrix, step by step": timed(lambda: sparse_walk(scores, boundary, steps), 3),
            "flows, step by step": timed(lambda: step_by_step(scores, boundary, steps), 3),
            "histoweak": timed(
                lambda: random_walk(scores, boundary, radius=RADIUS, beta=BETA, steps=steps), 3
            ),
        }
    print(f"{steps} steps on a map of {side} x {side}, {CLASSES} classes, radius {RADIUS}")
    _print(walks, "dense matrix, squared")
    crops = torch.rand(8, 40, 40, generator=generator)
    composed(crops, 10)  # finds out once how paths are put together
    paths = {
        "every pixel looked up": timed(lambda: trained(gathered, crops), 1),
        "from shorter paths": timed(lambda: trained(composed, crops), 3),
    }
    print("highest value on the paths of 8 maps of 40 x 40, radius 10, and its gradient")
    _print(paths, "every pixel looked up")


def _print(ways: dict[str, tuple[float, Tensor]], slowest: str) -> None:
    reference = ways[slowest]
    for name, (spent, result) in ways.items():
        difference = float((result - reference[1]).abs().max() / reference[1].abs().max())
        print(f"  {name:28s} {spent:9.4f} s   ratio {reference[0] / spent:8.1f}"
              f"   difference {difference:.0e} of the largest value")  # fmt: skip


if __name__ == "__main__":
    main()
