"""Evidence measures of one class over a list of patches, by loops over pixels."""

import math
from collections.abc import Sequence

import numpy as np

Patch = tuple[np.ndarray, np.ndarray, float]
"""(H, W) evidence, (H, W) truth with 255 ignored, probability of the class."""

ROUNDING = 1e-6  # what lies on a limit counts as within, as it would in exact arithmetic


def mean(values: Sequence[float]) -> float:
    """NaN for nothing."""
    return sum(values) / len(values) if values else math.nan


def scores(patches: Sequence[Patch], k: int, threshold: float) -> dict[str, float]:
    """What `evidence_scores` reports for class `k`."""
    pointing, energy, lift, leakage, good, bad, beyond = [], [], [], [], [], [], []
    for evidence, truth, prob in patches:
        pixels = [
            (float(e), int(t)) for e, t in zip(evidence.flat, truth.flat, strict=True) if t != 255
        ]
        if not pixels:
            continue
        area = mean([t == k for _, t in pixels])
        if area == 0:
            leakage.append(mean([e for e, _ in pixels]))
            bad.append(prob < threshold and leakage[-1] <= 0.05 + ROUNDING)
            continue
        top = max(e for e, _ in pixels)
        pointing.append(mean([t == k for e, t in pixels if e == top]))
        total = sum(e for e, _ in pixels)
        energy.append(sum(e for e, t in pixels if t == k) / total if total else area)
        lift.append(energy[-1] - area)
        good.append(prob >= threshold and lift[-1] >= 0.1 - ROUNDING)
        beyond.append(area > 0.9 + ROUNDING)
    return {
        "pointing_game": mean(pointing),
        "energy_pointing": mean(energy),
        "energy_lift": mean(lift),
        "leakage": mean(leakage),
        "evidence_accuracy": mean(good + bad),
        "evidence_accuracy_positive": mean(good),
        "evidence_accuracy_negative": mean(bad),
        "out_of_reach": mean(beyond),
    }
