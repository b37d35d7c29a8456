"""How much faster scores per pixel come from frames than from one patch after the other.

    python benchmarks/cam_scoring.py [--frames 6]

The straightforward way, that of released code: every patch on its own, one pass for its class
probabilities and one for its maps. Here: overlapping patches are laid back on their frame, which
goes through the network once, and both are read off the same maps. Same network, same pixels.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from histoweak.inference.tiling import blend_tiles
from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig
from histoweak.objectives.pooling import box_mean

PATCH, STRIDE, HEIGHT, WIDTH = 112, 56, 522, 775
"""The GlaS protocol: patches of 112 px every 56 px, flush with the borders of 775 x 522 images."""


def starts(length: int) -> list[int]:
    """First pixels of the patches along one side."""
    return [*range(0, length - PATCH, STRIDE), length - PATCH]


def one_by_one(network: CamClassifier, frame: torch.Tensor) -> None:
    """Two passes per patch."""
    for y in starts(HEIGHT):
        for x in starts(WIDTH):
            patch = frame[None, :, y : y + PATCH, x : x + PATCH]
            network(patch).mean(dim=(2, 3)).sigmoid()
            network(patch).softmax(dim=1)


def by_frame(network: CamClassifier, frame: torch.Tensor) -> None:
    """One pass per frame; patch probabilities are means of its maps."""
    padded = torch.nn.functional.pad(frame, (0, -WIDTH % 16, 0, -HEIGHT % 16))
    maps = blend_tiles(network, padded, 2, 1024, 256, 1, stride=16)
    boxes = [(0, x, y, x + PATCH, y + PATCH) for y in starts(HEIGHT) for x in starts(WIDTH)]
    box_mean(maps[None], torch.tensor(boxes), (1 / 16, 1 / 16)).sigmoid()
    maps.softmax(dim=0)


def seconds(work: Callable[[], None]) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Time both ways on the same frames, alternating, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=4)
    count = parser.parse_args().frames
    torch.manual_seed(0)
    network = CamClassifier(ClassifierNetConfig(encoder="resnet18", strides=(16,)), 2).eval()
    frames = torch.rand(count, 3, HEIGHT, WIDTH)
    with torch.inference_mode():
        by_frame(network, frames[0])
        slow = [seconds(lambda f=f: one_by_one(network, f)) for f in frames]  # type: ignore[misc]
        fast = [seconds(lambda f=f: by_frame(network, f)) for f in frames]  # type: ignore[misc]
    print(f"patch by patch {np.median(slow):.2f} s, by frame {np.median(fast):.3f} s a frame")
    print(f"ratio {np.median(slow) / np.median(fast):.1f}")


if __name__ == "__main__":
    main()
