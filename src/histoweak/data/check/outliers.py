"""Images whose stain or sharpness is far from that of the others."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histoweak.data.check.config import CheckConfig
from histoweak.data.check.finding import Checked, Finding, Item, found
from histoweak.data.check.measure import Facts

Float = npt.NDArray[np.float64]

LEAST_IMAGES = 20
"""Images below which there is no telling what is usual."""


@dataclass(frozen=True)
class Measure:
    """A figure of every image whose outliers count.

    Args:
        name: for people.
        value: the figure, or None where it has no meaning.
        least_spread: what the robust standard deviation counts as at least, so that in a data set
            of nearly equal images not every speck is an outlier.
        low_only: whether only small values are suspicious.
    """

    name: str
    value: Callable[[Facts], float | None]
    least_spread: float
    low_only: bool = False


def _log_focus(facts: Facts) -> float | None:
    return None if facts.focus is None else float(np.log(facts.focus + 1e-3))


HAEMATOXYLIN = Measure("haematoxylin", lambda f: f.stain[0] if f.stain else None, 0.02)
EOSIN = Measure("eosin", lambda f: f.stain[1] if f.stain else None, 0.02)
OTHER_COLOR = Measure("other colour", lambda f: f.stain[2] if f.stain else None, 0.02)
SHARPNESS = Measure("sharpness", _log_focus, 0.3, low_only=True)


@dataclass(frozen=True)
class Spread:
    """Median and robust standard deviation of a measure over the data set."""

    median: float
    deviation: float


def values_of(checked: Checked, measure: Measure) -> Float:
    """(N,) the measure of every image, NaN where it has no meaning."""
    found_values = [measure.value(facts) for facts in checked.facts]
    return np.array([np.nan if v is None else v for v in found_values], np.float64)


def spread_of(values: Float, measure: Measure) -> Spread | None:
    """Median and 1.4826 times the median absolute deviation; None of too few images."""
    known = values[np.isfinite(values)]
    if known.size < LEAST_IMAGES:
        return None
    median = float(np.median(known))
    deviation = 1.4826 * float(np.median(np.abs(known - median)))
    return Spread(median, max(deviation, measure.least_spread))


def find_outliers(checked: Checked, config: CheckConfig) -> list[Finding]:
    """Stain and sharpness beyond `config.deviations` from the median, the furthest first."""
    limit = f"{config.deviations:g} robust standard deviations"
    stain = _far(checked, (HAEMATOXYLIN, EOSIN, OTHER_COLOR), config.deviations)
    blurred = _far(checked, (SHARPNESS,), config.deviations)
    return [
        *found(
            "stain", "warning", "Images stained unlike the others",
            "The mean amount of a stain over the tissue, or of colour that neither explains, is "
            f"more than {limit} from the median. Look for another scanner or stain, a folded or "
            "faded section, or ink.", stain,
        ),
        *found(
            "focus", "warning", "Images less sharp than the others",
            f"The variance of the Laplacian over the tissue is, in logarithms, more than {limit} "
            "below the median. Look whether nuclei have edges.", blurred,
        ),
    ]  # fmt: skip


def _far(checked: Checked, measures: tuple[Measure, ...], limit: float) -> list[Item]:
    """One case for each image that is far off in any of the measures."""
    notes: dict[int, list[str]] = {}
    worst: dict[int, float] = {}
    for measure in measures:
        values = values_of(checked, measure)
        spread = spread_of(values, measure)
        if spread is None:
            continue
        far = (values - spread.median) / spread.deviation
        outside = far < -limit if measure.low_only else np.abs(far) > limit
        for i in np.flatnonzero(outside).tolist():
            said = f"{measure.name} {far[i]:+.1f} deviations"
            if not measure.low_only:
                said += f" ({values[i]:.2f}, median {spread.median:.2f})"
            notes.setdefault(i, []).append(said)
            worst[i] = max(worst.get(i, 0.0), abs(float(far[i])))
    order = sorted(notes, key=lambda i: (-worst[i], i))
    return [Item(", ".join(notes[i]), (i,)) for i in order]
