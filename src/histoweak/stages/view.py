"""What a classifier says of one held-out image: computed once, read by everything that scores it.

The plain pass gives the rung "CAM", the average over orientations the rung "pseudo-mask", the
scores that become pseudo-masks, the probabilities and the evidence. Scores stay at the scale of
the maps and are enlarged for the pixels that are asked for.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from histoweak.data.manifest import Record
from histoweak.data.rescale import rescaled_size
from histoweak.inference.forward import posterior_bands
from histoweak.inference.model import TissueModel
from histoweak.inference.resize import index_mask, interpolate
from histoweak.nets.pooled import PooledNetwork
from histoweak.objectives.pooling import box_mean
from histoweak.stages.scores import ScoresConfig, steady_maps, to_scores

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

MOST_PIXELS = 1 << 22
"""Pixels of one image at which its evidence is measured; larger images are thinned evenly, so that
the scores of K classes never fill the memory."""


@dataclass(frozen=True, eq=False)
class View:
    """One image as a classifier sees it.

    Args:
        size: (H, W) of the image.
        working: (H, W) of the image at the scale of the model.
        stride: pixels at the scale of the model per pixel of the maps.
        plain: (K, h, w) maps of one pass.
        maps: (K, h, w) maps combined over orientations and magnifications.
        scores: (K, h, w) in [0, 1], from `maps`.
        probs: (K,) probability of each class for the image as a whole, from `maps`.
        called: (K,) bool, the classes that the classifier names.
    """

    size: tuple[int, int]
    working: tuple[int, int]
    stride: int
    plain: Float
    maps: Float
    scores: Float
    probs: Float
    called: Bool

    def cam(self) -> UInt8:
        """(H, W) strongest class of the plain pass; equal to `TissueModel.predict`."""
        return self._strongest(self.plain)

    def refined(self) -> UInt8:
        """(H, W) strongest class of the averaged maps."""
        return self._strongest(self.maps)

    def scores_at(self, rows: Indices, columns: Indices) -> Float:
        """Scores (K, R, C) at the given rows and columns of the image, bilinear between maps."""
        tall = interpolate(self.scores, 1, self._centres(rows, 0))
        return interpolate(tall, 2, self._centres(columns, 1))

    def _centres(self, pixels: Indices, axis: int) -> npt.NDArray[np.float64]:
        """Where the centres of pixels of the image lie among the centres of the cells."""
        zoom = self.working[axis] / self.size[axis]
        return np.asarray((pixels + 0.5) * (zoom / self.stride) - 0.5, np.float64)

    def _strongest(self, maps: Float) -> UInt8:
        return strongest_class(maps, self.stride, self.working, self.size)


@dataclass(frozen=True)
class Viewer:
    """Makes views with one classifier.

    Args:
        model: the classifier.
        cam: how maps become scores.
        tile: side of the tiles in pixels at the scale of the model.
        threshold: probability from which on a class is named; an exclusive classifier names
            its most probable class whatever its probability.
    """

    model: TissueModel
    cam: ScoresConfig
    tile: int
    threshold: float = 0.5

    def __call__(self, image: UInt8, mpp: float | None) -> View:
        """Look at an image (H, W, 3)."""
        model = self.model
        size = (image.shape[0], image.shape[1])
        scale = 1.0 if mpp is None or model.mpp is None else mpp / model.mpp
        working = rescaled_size(size, scale)
        plain, probs = model.maps_and_probs(image, mpp, tile=self.tile)
        maps = plain
        if self.cam.tta != "none" or self.cam.scales is not None:
            maps = steady_maps(model, image, mpp, self.cam, self.tile)
            if not isinstance(model.network, PooledNetwork):
                box = torch.tensor([[0, 0, 0, working[1], working[0]]])
                cells = (1 / model.stride, 1 / model.stride)
                logits = box_mean(torch.from_numpy(maps)[None], box, cells)
                probs = model.activate(logits)[0].numpy()
        scores = to_scores(maps, self.cam.reading)
        return View(size, working, model.stride, plain, maps, scores, probs, self._called(probs))

    def _called(self, probs: Float) -> Bool:
        if self.model.exclusive:
            return np.asarray(np.arange(len(probs)) == probs.argmax())
        return np.asarray(probs >= self.threshold)


@dataclass(frozen=True, eq=False)
class Patch:
    """A held-out image with its truth and its view, thinned where it is large.

    Args:
        record: its row in the manifest.
        view: what the classifier says of the whole image.
        step: every `step`-th row and column is kept.
        image: (h, w, 3) uint8.
        truth: (h, w) uint8 class indices or 255.
        scores: (K, h, w) in [0, 1].
    """

    record: Record
    view: View
    step: int
    image: UInt8
    truth: UInt8
    scores: Float

    @classmethod
    def of(cls, record: Record, image: UInt8, truth: UInt8, view: View) -> "Patch":
        """Thin an image (H, W, 3) and its truth (H, W) to at most `MOST_PIXELS`."""
        height, width = truth.shape
        step = math.ceil(math.sqrt(height * width / MOST_PIXELS))
        scores = view.scores_at(np.arange(0, height, step), np.arange(0, width, step))
        return cls(record, view, step, image[::step, ::step], truth[::step, ::step], scores)

    @property
    def zoom(self) -> float:
        """Pixels of this patch per pixel at the scale of the model, along one side."""
        return self.view.size[0] / self.view.working[0] / self.step


def strongest_class(
    maps: Float, stride: int, working: tuple[int, int], size: tuple[int, int]
) -> UInt8:
    """(H, W) class with the largest map at each pixel of an image of `size`.

    Args:
        maps: (K, h, w).
        stride: pixels at working scale per pixel of the maps.
        working: (height, width) of the image at working scale.
        size: (H, W).
    """
    with torch.inference_mode():
        bands = posterior_bands(torch.from_numpy(maps), stride, working)
        return index_mask(bands, working, size)
