"""The figures of one rung of the ladder: pixels, boundaries and image averages, per patient."""

from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.metrics.boundary import (
    BoundaryTally,
    boundary_f,
    boundary_iou,
    mean_boundary_f,
    mean_boundary_iou,
)
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.groups import Grouped, confusions_to_dict
from histoweak.metrics.image_miou import ImageAveragedMIoU
from histoweak.metrics.ratio import plain
from histoweak.metrics.scores import summary

UInt8 = npt.NDArray[np.uint8]


class RungTally:
    """Counts what one rung predicts; memory grows with the patients, not the images.

    Args:
        n_classes: K.
        tolerance_um: tolerance of the boundary measures in microns, None to leave them out.
    """

    def __init__(self, n_classes: int, tolerance_um: float | None) -> None:
        self.tolerance_um = tolerance_um
        self.pixels = Grouped(lambda: ConfusionMatrix(n_classes))
        self.boundaries = Grouped(lambda: BoundaryTally(n_classes, tolerance_um or 1.0))
        self.n_classes, self.bounded = n_classes, 0
        self.averages: dict[str, ImageAveragedMIoU] = {}

    def update(self, patient: str, pred: UInt8, truth: UInt8, mpp: float | None) -> None:
        """Count one image; its boundaries only where a pixel is no larger than the tolerance.

        Args:
            patient: whose it is.
            pred: (H, W) predicted class indices or 255.
            truth: (H, W) true class indices or 255.
            mpp: microns per pixel, if known.
        """
        self.pixels[patient].update(pred, truth)
        average = self.averages.setdefault(patient, ImageAveragedMIoU(self.n_classes))
        average.update(pred, truth)
        if self.tolerance_um is not None and mpp is not None and mpp <= self.tolerance_um:
            self.boundaries[patient].update(pred, truth, mpp)
            self.bounded += 1

    def figures(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Plain data for JSON, described in `histoweak.stages.evaluation`."""
        images = sum(a.images for a in self.averages.values())
        total = sum(a.value * a.images for _, a in sorted(self.averages.items()) if a.images)
        return {
            **summary(self.pixels.total(), names),
            "image_averaged_miou": total / images if images else None,
            "boundary": self._boundary(names) if self.bounded else None,
            "patients": confusions_to_dict(self.pixels),
            "by_patient": {name: self._patient(name) for name in sorted(self.averages)},
        }

    def _boundary(self, names: tuple[str, ...]) -> dict[str, Any]:
        total = self.boundaries.total()
        by_class = zip(names, boundary_f(total), boundary_iou(total), strict=True)
        return {
            "tolerance_um": self.tolerance_um,
            "images": self.bounded,
            "mean_f": plain(mean_boundary_f(total)),
            "mean_iou": plain(mean_boundary_iou(total)),
            "classes": {name: {"f": plain(f), "iou": plain(iou)} for name, f, iou in by_class},
        }

    def _patient(self, name: str) -> dict[str, Any]:
        average = self.averages[name]
        bounded = name in self.boundaries.names
        return {
            "images": average.images,
            "image_averaged_miou": plain(average.value),
            "boundary": self.boundaries[name].tallies.tolist() if bounded else None,
        }
