"""What a classifier says of one held-out image: computed once, read by everything that scores it.

The plain pass gives the rung "CAM", the average over orientations the rung "pseudo-mask", the
scores that become pseudo-masks, the probabilities and the evidence. Scores stay at the scale of
the maps and are enlarged for the pixels that are asked for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from histoweak.classes import IGNORE_INDEX
from histoweak.data.manifest import Record
from histoweak.data.rescale import rescale_image, rescaled_size
from histoweak.inference.forward import posterior_bands
from histoweak.inference.model import TissueModel
from histoweak.inference.resize import index_mask, interpolate
from histoweak.nets.pooled import PooledNetwork
from histoweak.objectives.pooling import box_mean
from histoweak.refine.chain import refine
from histoweak.refine.config import RefinerConfig
from histoweak.stages.pseudo_masks import enlarge
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
        refined_scores: (K, *working) in [0, 1], `scores` after the refiners of the pseudo-masks;
            None where there are none.
        silent: class index of pixels on which the refiners left no class a score.
    """

    size: tuple[int, int]
    working: tuple[int, int]
    stride: int
    plain: Float
    maps: Float
    scores: Float
    probs: Float
    called: Bool
    refined_scores: Float | None = None
    silent: int = IGNORE_INDEX

    def cam(self) -> UInt8:
        """(H, W) strongest class of the plain pass; equal to `TissueModel.predict`."""
        return self._strongest(self.plain)

    def refined(self) -> UInt8:
        """(H, W) strongest class of the averaged maps, or of the refined scores."""
        if self.refined_scores is None:
            return self._strongest(self.maps)
        bands = [torch.from_numpy(self.refined_scores)]
        return index_mask(bands, self.working, self.size, silent=self.silent)

    def scores_at(self, rows: Indices, columns: Indices) -> Float:
        """Scores (K, R, C) at the given rows and columns of the image, bilinear between maps."""
        return self._at(self.scores, self.stride, rows, columns)

    def refined_at(self, rows: Indices, columns: Indices) -> Float:
        """Scores of which pseudo-masks are made, as `scores_at`."""
        if self.refined_scores is None:
            return self.scores_at(rows, columns)
        return self._at(self.refined_scores, 1, rows, columns)

    def _at(self, values: Float, stride: int, rows: Indices, columns: Indices) -> Float:
        tall = interpolate(values, 1, self._centres(rows, 0, stride))
        return interpolate(tall, 2, self._centres(columns, 1, stride))

    def _centres(self, pixels: Indices, axis: int, stride: int) -> npt.NDArray[np.float64]:
        """Where the centres of pixels of the image lie among the centres of the cells."""
        zoom = self.working[axis] / self.size[axis]
        return np.asarray((pixels + 0.5) * (zoom / stride) - 0.5, np.float64)

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
        refiners: what scores go through before they become pseudo-masks.
    """

    model: TissueModel
    cam: ScoresConfig
    tile: int
    threshold: float = 0.5
    refiners: Sequence[RefinerConfig] = ()

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
        view = View(size, working, model.stride, plain, maps, scores, probs, self._called(probs))
        if not self.refiners:
            return view
        fine = enlarge(scores, model.stride, working)
        refined = refine(rescale_image(image, scale), fine, self.refiners, model.device)
        return replace(view, refined_scores=refined, silent=model.classes.white_index)

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
        refined: (K, h, w), the scores of which pseudo-masks are made.
    """

    record: Record
    view: View
    step: int
    image: UInt8
    truth: UInt8
    scores: Float
    refined: Float

    @classmethod
    def of(cls, record: Record, image: UInt8, truth: UInt8, view: View) -> "Patch":
        """Thin an image (H, W, 3) and its truth (H, W) to at most `MOST_PIXELS`."""
        height, width = truth.shape
        step = math.ceil(math.sqrt(height * width / MOST_PIXELS))
        places = (np.arange(0, height, step), np.arange(0, width, step))
        scores = view.scores_at(*places)
        refined = scores if view.refined_scores is None else view.refined_at(*places)
        thinned = (image[::step, ::step], truth[::step, ::step])
        return cls(record, view, step, *thinned, scores, refined)

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
