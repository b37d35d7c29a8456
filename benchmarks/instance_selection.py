"""How much faster and leaner it is to learn from the instances that answer for a label alone.

    python benchmarks/instance_selection.py [--lattice 4] [--side 64] [--images 4]

The straightforward way: all n x n instances of an image go through the network with gradient, and
the loss takes the chosen ones. Here: one pass over all without gradient chooses, and a second one
over the chosen learns. Same network, same images, same gradients (checked).
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.objectives.mil import answer_loss, answers, choose
from histoweak.stages.cmil import judge

CLASSES = 2


def plain(network: InstanceNet, instances: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Loss by a gradient through every instance."""
    logits = network.classify(instances.flatten(0, 1)).view(*instances.shape[:2], -1)
    picks = choose(logits.detach().sigmoid(), labels, valid, "max-min")
    return answer_loss(logits.transpose(1, 2).gather(2, picks.index), labels, picks.valid)


def two_passes(network: InstanceNet, instances: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Loss by a gradient through the chosen instances."""
    picks = choose(judge(network, instances, valid), labels, valid, "max-min")
    return answer_loss(answers(network.classify, instances, picks).own, labels, picks.valid)


def measure(network: InstanceNet, loss_of: Callable[[], Tensor]) -> tuple[float, int, list[Tensor]]:
    """Seconds, bytes kept for the backward pass, and gradients of one step."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    network.zero_grad()
    began = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of()
    loss.backward()  # type: ignore[no-untyped-call]
    spent = time.perf_counter() - began
    weights = sum(p.untyped_storage().nbytes() for p in network.parameters())
    gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    return spent, sum(kept.values()) - weights, gradients


def main() -> None:
    """Measure both ways on the same images, alternating, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lattice", type=int, default=4)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    net = InstanceNetConfig(side=options.side, strides=(options.side,))
    network = InstanceNet(net, CLASSES)
    number = options.lattice**2
    instances = torch.rand(options.images, number, 3, options.side, options.side)
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).repeat(options.images, 1)[: options.images]
    work = (network, instances, labels, torch.ones(options.images, number, dtype=torch.bool))
    two_passes(*work)
    found = {way: [measure(network, lambda w=way: w(*work)) for _ in range(options.repeats)]  # type: ignore[misc]
             for way in (plain, two_passes)}  # fmt: skip
    for a, b in zip(found[plain][0][2], found[two_passes][0][2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    seconds = {way: float(np.median([f[0] for f in runs])) for way, runs in found.items()}
    size = {way: runs[0][1] / 1e6 for way, runs in found.items()}
    for way in (plain, two_passes):
        print(f"{way.__name__}: {seconds[way]:.2f} s, {size[way]:.0f} MB kept for the gradient")
    faster, leaner = (values[plain] / values[two_passes] for values in (seconds, size))
    print(f"time {faster:.2f}, memory {leaner:.1f}")


if __name__ == "__main__":
    main()
