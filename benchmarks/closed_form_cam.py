"""How much faster Grad-CAM of all classes comes from one forward pass than from autograd.

    python benchmarks/closed_form_cam.py [--classes 51] [--images 4]

The straightforward way, that of released code: for every image and class one forward pass, one
backward pass, the spatial means of the gradients as weights of the channels. Here: the weights are
known without an image (linear layer times normalisation), and one forward pass gives all maps.
Same network (X1.7, 224 px), same images; the maps are checked to agree.
"""

import argparse
import time

import numpy as np
import torch

from histoweak.nets.histosegnet import HistoSegNet, HistoSegNetConfig

SIDE = 224


def by_autograd(network: HistoSegNet, image: torch.Tensor, n_classes: int) -> torch.Tensor:
    """A forward and a backward pass per class; (K, h, w)."""
    maps = []
    for c in range(n_classes):
        active = network.activations(image)
        logit = network.logits(network.pool(active))[0, c]
        (gradient,) = torch.autograd.grad(logit, active)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        maps.append((weights * active).sum(dim=1)[0].detach())
    return torch.stack(maps)


def one_backward_each(network: HistoSegNet, image: torch.Tensor, n_classes: int) -> torch.Tensor:
    """One forward pass, and backward passes of all classes to the map that is explained."""
    active = network.activations(image)
    logits = network.logits(network.pool(active))[0]
    maps = []
    for c in range(n_classes):
        (gradient,) = torch.autograd.grad(logits[c], active, retain_graph=True)
        maps.append((gradient.mean(dim=(2, 3), keepdim=True) * active).sum(dim=1)[0].detach())
    return torch.stack(maps)


def closed_form(network: HistoSegNet, image: torch.Tensor) -> torch.Tensor:
    """One forward pass; (K, h, w)."""
    with torch.inference_mode():
        maps = network(image)[0]
        return maps / (maps.shape[1] * maps.shape[2])


def main() -> None:
    """Time the ways on the same images, alternating, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=51)
    parser.add_argument("--images", type=int, default=3)
    asked = parser.parse_args()
    torch.manual_seed(0)
    network = HistoSegNet(HistoSegNetConfig(), asked.classes).eval()
    ways = {
        "forward and backward per class": lambda i: by_autograd(network, i, asked.classes),
        "one forward, backward per class": lambda i: one_backward_each(network, i, asked.classes),
        "closed form": lambda i: closed_form(network, i),
    }
    closed_form(network, torch.rand(1, 3, SIDE, SIDE))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.images):
        image = torch.rand(1, 3, SIDE, SIDE)
        found = []
        for name, way in ways.items():
            began = time.perf_counter()
            found.append(way(image))
            seconds[name].append(time.perf_counter() - began)
        for maps in found[:-1]:
            torch.testing.assert_close(maps, found[-1], rtol=1e-3, atol=1e-6)
    fastest = np.median(seconds["closed form"])
    print(f"{asked.classes} classes, one image of {SIDE} px, median of {asked.images}")
    for name, values in seconds.items():
        print(f"{name:<32} {np.median(values):8.3f} s  ratio {np.median(values) / fastest:6.1f}")


if __name__ == "__main__":
    main()
