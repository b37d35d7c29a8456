"""How much faster Grad-CAMs of three layers come from one forward pass than from twelve.

    python benchmarks/layer_cam.py [--width 0.25] [--patches 4] [--batch 2] [--size 224]
                                   [--device cpu]

The straightforward way, that of released code for pseudo-masks of three layers and four classes:
for each patch, layer and class one forward and one full backward pass of batch 1, gradients of
weights included, then a loop over the channels of the layer in numpy. Here: one forward pass per
batch and, for each class, one backward pass that ends at the shallowest layer; the deepest needs
none. The same ResNet38-d (`--width 1` is the published size), the same patches, the same maps.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from histoweak.inference.layers import LayerCams
from histoweak.nets.layer_classifier import LayerClassifier, LayerNetConfig

CLASSES = 4


def one_by_one(network: LayerClassifier, patch: Tensor) -> np.ndarray:
    """Twelve passes forward and back for one patch (1, 3, H, W)."""
    found = []
    for layer in range(len(network.config.layers)):
        for k in range(CLASSES):
            network.zero_grad()
            layers = network.layers(patch)
            for features in layers:
                features.retain_grad()
            network.maps(layers[-1]).mean(dim=(2, 3))[0, k].backward()  # type: ignore[no-untyped-call]
            slope = layers[layer].grad
            assert slope is not None  # noqa: S101 - retained above
            weights, values = (
                slope[0].mean(dim=(1, 2)).cpu().numpy(),
                layers[layer][0].detach().cpu().numpy(),
            )
            cam = np.zeros(values.shape[1:], np.float32)
            for channel, weight in enumerate(weights):
                cam += weight * values[channel]
            found.append(cam * cam.size)
    return np.stack(found)


def side_by_side(cams: LayerCams, patches: Tensor) -> np.ndarray:
    """One pass forward and one short one back per class for a batch of patches."""
    maps = cams(patches).cpu().numpy()
    return maps[:, : -maps.shape[1] // (len(cams.network.config.layers) + 1)]


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Wall time and result of a call."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main() -> None:
    """Time both ways on the same patches, alternating, compare their maps, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--patches", type=int, default=4)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--device", default="cpu")
    words = parser.parse_args()
    torch.manual_seed(0)
    config = LayerNetConfig(
        encoder="resnet38d", strides=(8,), head="last", width_factor=words.width, attention="none"
    )
    network = LayerClassifier(config, CLASSES).eval().to(words.device)
    cams = LayerCams(network, "mean")
    patches = torch.rand(words.patches, 3, words.size, words.size, device=words.device)
    side_by_side(cams, patches[:1])
    slow, fast = [], []
    for batch in patches.split(words.batch):
        seconds, together = timed(lambda b=batch: side_by_side(cams, b))  # type: ignore[misc]
        fast += [seconds / len(batch)] * len(batch)
        for patch, own in zip(batch, together, strict=True):
            seconds, alone = timed(lambda p=patch: one_by_one(network, p[None]))  # type: ignore[misc]
            slow.append(seconds)
            np.testing.assert_allclose(own, alone, rtol=1e-3, atol=1e-4 * np.abs(alone).max())
    one, all_ = np.median(slow), np.median(fast)
    print(
        f"12 forward + 12 backward {one:.2f} s, 1 forward + 4 short backward {all_:.3f} s a patch"
    )
    print(f"ratio {one / all_:.1f} at width {words.width:g}, equal maps")


if __name__ == "__main__":
    main()
