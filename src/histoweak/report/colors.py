"""Colours that readers with any kind of colour vision can tell apart."""

import numpy as np
import numpy.typing as npt

from histoweak.classes import PALETTE, ClassSet

FloatArray = npt.NDArray[np.float64]

# What is left of a linear RGB colour without one kind of cone. Source: Machado, Oliveira and
# Fernandes, "A physiologically-based model for simulation of color vision deficiency" (IEEE TVCG
# 2009), table of matrices at severity 1.0: protanopia, deuteranopia, tritanopia.
DEFICIENCIES = np.array(
    [
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # IEC 61966-2-1 (sRGB), white point D65
LEAST_DISTANCE = 15.0
"""CIE 1976 distance below which two colours are taken to be confusable in small regions."""


def report_classes(classes: ClassSet) -> ClassSet:
    """The classes in colours that stay apart for colour-blind readers.

    The data set's own colours are kept where they do; else the package's palette takes their
    place. (Beyond eight classes the palette repeats; pages then rely on names and shapes.)
    """
    if least_distance(np.array(classes.colors)) >= LEAST_DISTANCE:
        return classes
    colors = tuple(PALETTE[i % len(PALETTE)] for i in range(len(classes)))
    return ClassSet(classes.names, colors, classes.white)


def least_distance(colors: npt.NDArray[np.integer]) -> float:
    """Least CIE 1976 distance of two of the colours (K, 3), over four kinds of colour vision."""
    if len(colors) < 2:
        return float("inf")
    linear = _linear(colors / 255)
    seen = np.concatenate([linear[None], np.einsum("dij,kj->dki", DEFICIENCIES, linear)])
    lab = _lab(seen.clip(0, 1))
    distance = np.linalg.norm(lab[:, :, None] - lab[:, None], axis=-1)
    first, second = np.triu_indices(len(colors), 1)
    return float(distance[:, first, second].min())


def _linear(srgb: FloatArray) -> FloatArray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _lab(linear: FloatArray) -> FloatArray:
    xyz = linear @ TO_XYZ.T / TO_XYZ.sum(1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
