"""The rungs of the ladder of an `evaluation.json`, each score with its interval over patients."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.metrics.boundary import (
    boundary_f,
    boundary_iou,
    mean_boundary_f,
    mean_boundary_iou,
)
from histoweak.metrics.groups import confusions_from_dict
from histoweak.metrics.intervals import Interval, bootstrap
from histoweak.metrics.ratio import FloatArray, plain, ratio
from histoweak.metrics.scores import (
    fwiou,
    iou,
    mean_dice,
    mean_recall,
    miou_present,
    miou_zero,
    pixel_accuracy,
)
from histoweak.report.data import LadderRow
from histoweak.report.measures import UNKNOWN, Estimate, Measure, MeasureTable
from histoweak.report.protocol import Protocol

OVERALL = {
    "miou": miou_present,
    "fwiou": fwiou,
    "dice": mean_dice,
    "accuracy": pixel_accuracy,
    "miou_zero": miou_zero,
    "recall": mean_recall,
}
BOUNDARY: dict[str, tuple[str, Callable[..., FloatArray], Callable[..., FloatArray]]] = {
    "Boundary F": (
        "how well outlines agree: harmonic mean of the share of drawn outline that lies within "
        "the tolerance of a true one and of the share of true outline that was drawn; 1 is best",
        boundary_f,
        mean_boundary_f,
    ),
    "Boundary IoU": (
        "IoU of the strips inside the outlines that are as wide as the tolerance; 1 is best",
        boundary_iou,
        mean_boundary_iou,
    ),
}


def protocol_of(figures: Mapping[str, Any], part: Mapping[str, Any]) -> Protocol:
    """How one part of a run's figures was obtained: its own gate and test-time augmentation."""
    gate, tta = (part[key] if key in part else figures[key] for key in ("gate", "tta"))
    return Protocol(gate, tta, figures["selection"], figures["split"], (figures["seed"],))


def ladder_row(rung: Mapping[str, Any], figures: Mapping[str, Any], usual: Protocol) -> LadderRow:
    """One rung; its protocol is named where it differs from the usual one."""
    groups = confusions_from_dict(rung["patients"])
    tallies, total = groups.stacked(), groups.total()
    found = bootstrap(tallies, _overall)
    by_class = estimates(bootstrap(tallies, iou))
    overall = dict(zip(OVERALL, estimates(found), strict=True))
    pixels = int(total.tallies.sum())
    own = protocol_of(figures, rung)
    mean = overall["miou"]
    return LadderRow(
        name=rung["name"],
        iou=[estimate.value for estimate in by_class],
        miou=mean.value,
        interval=mean.interval,
        coverage=int(total.matrix.sum()) / pixels if pixels else None,
        class_intervals=[estimate.interval for estimate in by_class],
        image_miou=_image_average(rung),
        protocol=None if own == usual else own,
        fwiou=overall["fwiou"],
        dice=overall["dice"],
        accuracy=overall["accuracy"],
        miou_zero=overall["miou_zero"],
        recall=overall["recall"],
        boundary_f=_boundary(rung, mean_boundary_f),
        boundary_iou=_boundary(rung, mean_boundary_iou),
    )


def reference_row(
    rung: Mapping[str, Any], method: str, figures: Mapping[str, Any], usual: Protocol
) -> LadderRow:
    """The last rung of another run, named after its method."""
    row = ladder_row(rung, figures, usual)
    return replace(row, name=f"{method}: {rung['name']}", reference=True)


def boundary_table(rung: Mapping[str, Any], figures: Mapping[str, Any]) -> MeasureTable | None:
    """Boundary scores of a rung class by class; None where no boundary was compared."""
    tallies = _boundary_tallies(rung)
    if tallies is None:
        return None
    measures = []
    for name, (meaning, by_class, mean) in BOUNDARY.items():
        classes = estimates(bootstrap(tallies, by_class))
        measures.append(Measure(name, meaning, classes, estimate_of(bootstrap(tallies, mean))))
    about = rung["boundary"]
    return MeasureTable(
        measures,
        f"{rung['name']}, within {about['tolerance_um']:g} microns",
        patches=about["images"],
        interval_method="95 % bootstrap over patients, 2000 draws",
        protocol=protocol_of(figures, rung),
    )


def estimates(found: Interval) -> list[Estimate]:
    """An interval of shape (N,) as N scores."""
    values = (found.estimate.tolist(), found.low.tolist(), found.high.tolist())
    return [_known(*one) for one in zip(*values, strict=True)]


def estimate_of(found: Interval) -> Estimate:
    """An interval of shape ()."""
    return _known(float(found.estimate), float(found.low), float(found.high))


def _known(value: float, low: float, high: float) -> Estimate:
    known = not (np.isnan(low) or np.isnan(high))
    return Estimate(plain(value), (low, high) if known else None)


def _overall(sums: FloatArray) -> FloatArray:
    return np.stack([score(sums) for score in OVERALL.values()], -1)


def _image_average(rung: Mapping[str, Any]) -> Estimate:
    """Patients weigh as much as they have images, in the draws as in the figure itself."""
    counted = [
        (one["images"], one["images"] * one["image_averaged_miou"])
        for one in rung.get("by_patient", {}).values()
        if one["images"]
    ]
    if not counted:
        return UNKNOWN
    return estimate_of(bootstrap(np.array(counted), lambda s: ratio(s[..., 1], s[..., 0])))


def _boundary(rung: Mapping[str, Any], mean: Callable[[FloatArray], FloatArray]) -> Estimate:
    tallies = _boundary_tallies(rung)
    return UNKNOWN if tallies is None else estimate_of(bootstrap(tallies, mean))


def _boundary_tallies(rung: Mapping[str, Any]) -> npt.NDArray[np.float64] | None:
    """(G, K, 6) tallies of the patients with images whose boundaries were compared."""
    if not rung.get("boundary"):
        return None
    found = [one["boundary"] for one in rung["by_patient"].values() if one["boundary"]]
    return np.array(found, np.float64)
