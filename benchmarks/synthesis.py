"""How much faster synthetic images are made from cached patches, a chunk at a time.

    python benchmarks/synthesis.py [--images 64] [--threads 1]

The straightforward way, that of released code: for every mosaic sixteen PNG files are decoded,
four grids of 224 pixels are put together and warped whole, image and mask, and one quadrant of
each is kept; for every Bezier image two files are decoded, blobs are drawn until the (broken) rule
of spacing gives up, and a polygon is filled. Here: patches are decoded once, and one composed map
per quadrant samples only what is seen. Same settings (hard seams, no stain), same kind of work.
Processor time is compared, which other programs on the machine disturb least.
"""

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from histoweak.synthesis.bezier import bezier
from histoweak.synthesis.cache import PatchCache
from histoweak.synthesis.config import BezierConfig, MosaicConfig
from histoweak.synthesis.mosaic import mosaic

SIZE, CELL, CLASSES, PATCHES = 224, 112, 4, 400
UInt8 = npt.NDArray[np.uint8]
Image2 = tuple[UInt8, UInt8]

PLAIN_MOSAIC = MosaicConfig(turns=False, feather=0, harmonise=0)
PLAIN_BEZIER = BezierConfig(turns=False, feather=0, harmonise=0, samples=100, spacing="published")


def tissue_like(count: int) -> UInt8:
    """Smooth noise, which PNG compresses about as well as tissue."""
    rng, images = np.random.default_rng(0), np.empty((count, SIZE, SIZE, 3), np.uint8)
    for image in images:
        smooth = ndimage.gaussian_filter(rng.normal(size=image.shape), (1.2, 1.2, 0))
        image[:] = (smooth * 90 + 160).clip(0, 255)
    return images


class OneByOne:
    """The straightforward way.

    Args:
        folder: receives the PNG files.
        images: (N, S, S, 3) uint8.
    """

    def __init__(self, folder: Path, images: UInt8) -> None:
        self.rng = np.random.default_rng(0)
        self.files = [folder / f"{i}.png" for i in range(len(images))]
        for path, image in zip(self.files, images, strict=True):
            Image.fromarray(image).save(path)

    def read(self, other_than: int = -1) -> tuple[UInt8, int]:
        """A random patch and its class, which may have to be another one."""
        i = int(self.rng.integers(len(self.files)))
        while i % CLASSES == other_than:
            i = int(self.rng.integers(len(self.files)))
        return np.asarray(Image.open(self.files[i]).convert("RGB")), i % CLASSES

    def grid(self) -> Image2:
        """Two by two random crops."""
        image, mask = np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
        for top in (0, CELL):
            for left in (0, CELL):
                patch, kind = self.read()
                y, x = self.rng.integers(0, SIZE - CELL + 1, 2)
                area = np.s_[top : top + CELL, left : left + CELL]
                image[area], mask[area] = patch[y : y + CELL, x : x + CELL], kind
        return image, mask

    def warped(self) -> Image2:
        """A grid, flipped, and shifted, scaled and turned as a whole."""
        image, mask = self.grid()
        if self.rng.random() < 0.8:
            axis = int(self.rng.integers(3))
            flip = np.s_[::-1] if axis == 0 else np.s_[:, ::-1] if axis == 1 else np.s_[::-1, ::-1]
            image, mask = image[flip], mask[flip]
        if self.rng.random() < 0.8:
            turn = math.radians(self.rng.uniform(-45, 45))
            scale = self.rng.uniform(0.8, 1.2)
            shift = self.rng.uniform(-0.0625, 0.0625, 2) * SIZE
            inverse = np.array(
                [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]
            )
            inverse /= scale
            centre = (SIZE - 1) / 2
            offset = centre - inverse @ (centre + shift)
            channels = [
                ndimage.affine_transform(image[..., c], inverse, offset, order=1, mode="mirror")
                for c in range(3)
            ]
            image = np.stack(channels, axis=-1)
            mask = ndimage.affine_transform(mask, inverse, offset, order=0, mode="mirror")
        return image, mask

    def mosaic(self) -> Image2:
        """Four warped grids, one quadrant of each."""
        h, w = (min(180, (int(SIZE * u) + 1) // 2 * 2) for u in self.rng.uniform(0.2, 0.8, 2))
        image, mask = np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
        for y0, y1 in ((0, h), (h, SIZE)):
            for x0, x1 in ((0, w), (w, SIZE)):
                grid, kinds = self.warped()
                y = int(self.rng.integers(0, SIZE - (y1 - y0) + 1))
                x = int(self.rng.integers(0, SIZE - (x1 - x0) + 1))
                part = np.s_[y : y + y1 - y0, x : x + x1 - x0]
                image[y0:y1, x0:x1], mask[y0:y1, x0:x1] = grid[part], kinds[part]
        return image, mask

    def bezier(self) -> Image2:
        """One patch inside a blob, another one outside."""
        back, first = self.read()
        front, last = self.read(other_than=first)
        canvas = Image.new("1", (SIZE, SIZE))
        points = [(float(x), float(y)) for x, y in self.outline().round()]
        ImageDraw.Draw(canvas).polygon(points, fill=1)
        blob = np.asarray(canvas)
        image = np.where(blob[..., None], front, back)
        return image, np.where(blob, last, first).astype(np.uint8)

    def outline(
        self, vertices: int = 5, rad: float = 0.2, edgy: float = 0.05
    ) -> npt.NDArray[np.float64]:
        """A closed Bezier curve, piece by piece."""
        for _ in range(200):
            points = self.rng.random((vertices, 2))
            centred = points - points.mean(axis=0)
            points = points[np.argsort(np.arctan2(centred[:, 1], centred[:, 0]))]
            if (np.diff(points, axis=0).sum(axis=1) >= 0.7 / vertices).all():
                break
        edges = np.roll(points, -1, axis=0) - points
        angles = np.arctan2(edges[:, 1], edges[:, 0]) % (2 * np.pi)
        before = np.roll(angles, 1)
        p = math.atan(edgy) / np.pi + 0.5
        theta = p * angles + (1 - p) * before + np.pi * (np.abs(before - angles) > np.pi)
        t = np.linspace(0, 1, 100)[:, None]
        pieces = []
        for i in range(vertices):
            j = (i + 1) % vertices
            reach = rad * np.hypot(*edges[i])
            a, d = points[i], points[j]
            b = a + reach * np.array([math.cos(theta[i]), math.sin(theta[i])])
            c = d - reach * np.array([math.cos(theta[j]), math.sin(theta[j])])
            pieces.append(
                (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d
            )
        return np.concatenate(pieces) * SIZE


def seconds(work: Callable[[], object]) -> float:
    """Processor time of a call, all threads together."""
    began = time.process_time()
    work()
    return time.process_time() - began


def compare(
    name: str,
    slow: Callable[[], Image2],
    fast: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
    images: int,
) -> None:
    """Time both ways, alternating, and print the ratio; check that they agree on average.

    Raises:
        SystemExit: their shares of pixels at borders differ by more than four standard errors.
    """
    fast(8)
    times: list[tuple[float, float]] = []
    borders: tuple[list[float], list[float]] = ([], [])
    part = max(1, images // 4)
    for _ in range(4):
        made: list[Image2] = []
        a = seconds(lambda: made.extend(slow() for _ in range(part)))  # noqa: B023
        b = seconds(lambda: fast(4 * part))
        times.append((a / part, b / (4 * part)))
        for kept, masks in zip(borders, ([m for _, m in made], fast(part)[1].numpy()), strict=True):
            kept.extend(float((m[:, 1:] != m[:, :-1]).mean()) for m in masks)
    a, b = np.median(times, axis=0)
    print(f"{name}: one by one {1 / a:.0f} images/s, in chunks {1 / b:.0f}, ratio {a / b:.1f}")
    shares = " and ".join(f"{np.mean(found):.4f}" for found in borders)
    print(f"    share of pixels at a border of classes: {shares}")
    gap = abs(np.mean(borders[0]) - np.mean(borders[1]))
    chance = math.hypot(*(np.std(found) / math.sqrt(len(found)) for found in borders))
    if gap > 4 * chance:
        raise SystemExit(f"{name}: the two ways differ by {gap / chance:.1f} standard errors")


def main() -> None:
    """Compare both kinds; state the memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    images = tissue_like(PATCHES)
    cache = PatchCache(
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        torch.arange(PATCHES) % CLASSES,
        [f"patient {i % 20}" for i in range(PATCHES)],
        CLASSES,
    )
    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        plain = OneByOne(Path(folder), images)
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for title, mosaics, blobs in (
            ("", PLAIN_MOSAIC, PLAIN_BEZIER),
            (" with soft seams and stain", MosaicConfig(), BezierConfig(spacing="published")),
        ):
            compare(
                f"mosaic{title}",
                plain.mosaic,
                lambda n, c=mosaics: mosaic(cache, n, SIZE, c, generator),  # type: ignore[misc]
                asked.images,
            )
            compare(
                f"bezier{title}",
                plain.bezier,
                lambda n, c=blobs: bezier(cache, n, SIZE, c, generator),  # type: ignore[misc]
                asked.images,
            )
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
    held = cache.images.numel() / len(cache) / 1e3
    print(f"memory: {held:.0f} kB per cached patch, {more / 1e3:.0f} MB while making images")


if __name__ == "__main__":
    main()
