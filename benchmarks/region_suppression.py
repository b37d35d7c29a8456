"""Time and memory of region suppression, against its formula left to autograd.

    python benchmarks/region_suppression.py [--rounds 5]

The straightforward way, that of released code: rectify, take the maximum, expand the bound, take
the smaller; autograd finds the way back and keeps the rectified maps for it. Here: one function
that keeps its output alone. Both are compared first, values and gradients.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from histoweak.cams.region_suppression import suppress

SHAPES = ((4, 64, 160, 160), (4, 256, 40, 40), (4, 512, 20, 20))
"""What a crop of 160 pixels passes in VGG-16 in batches of four."""

Function = Callable[[Tensor, Tensor], Tensor]


def by_autograd(maps: Tensor, controller: Tensor) -> Tensor:
    """The module as its paper states it."""
    rectified = maps.relu()
    peak = rectified.amax((2, 3), keepdim=True)
    ratio = (rectified.mean((2, 3)) @ controller.T).sigmoid()[:, :, None, None]
    return torch.minimum(rectified, (peak * ratio).expand_as(maps))


def step(function: Function, maps: Tensor, controller: Tensor, grad: Tensor) -> list[Tensor]:
    """Output and both gradients of one pass there and back."""
    leaves = [maps.clone().requires_grad_(), controller.clone().requires_grad_()]
    result = function(*leaves)
    result.backward(grad)
    return [result, *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def kept(function: Function, maps: Tensor, controller: Tensor) -> int:
    """Bytes of maps that wait for the way back, those that the next layer keeps included."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    leaf = maps.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # The convolution before it needs its own output for nothing.
        pack(function(leaf * 1, controller))
    return sum(size for size in found.values() if size >= maps.untyped_storage().nbytes())


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Print one line for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for shape in SHAPES:
        generator = torch.Generator().manual_seed(0)
        maps, grad = (torch.randn(shape, generator=generator) for _ in range(2))
        controller = 0.01 * torch.randn(shape[1], shape[1], generator=generator)
        for own, theirs in zip(
            step(suppress, maps, controller, grad),
            step(by_autograd, maps, controller, grad),
            strict=True,
        ):
            torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-3)
        times: dict[Function, list[float]] = {suppress: [], by_autograd: []}
        for _ in range(rounds):
            for function, spent in times.items():
                spent.append(seconds(partial(step, function, maps, controller, grad)))
        fast, slow = (min(spent) for spent in times.values())
        memory = kept(by_autograd, maps, controller) / kept(suppress, maps, controller)
        print(
            f"{shape}: {slow / fast:.1f} times as fast ({1e3 * fast:.1f} ms against "
            f"{1e3 * slow:.1f} ms), {memory:.1f} times less kept for the way back"
        )


if __name__ == "__main__":
    main()
