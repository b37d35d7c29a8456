"""What is measured on one image and its mask, in one pass over the pixels."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX
from histoweak.data.check.fingerprint import thumbnail
from histoweak.data.hed import RGB_FROM_HED
from histoweak.data.images import probe, read_image, read_mask
from histoweak.data.skips import reason_of
from histoweak.errors import ImageError
from histoweak.refine.white import WhiteConfig, white_mask

UInt8 = npt.NDArray[np.uint8]

MAX_MEASURED = 4_000_000
"""Pixels up to which stain, white and sharpness are measured on the whole image."""

WINDOW, WINDOWS = 512, 4
LEAST_TISSUE = 100  # pixels below which stain and sharpness have no meaning

_HED_FROM_RGB = np.linalg.inv(np.array(RGB_FROM_HED))
_DENSITY = -np.log(np.maximum(np.arange(256), 1) / 255.0)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one image; some hundred bytes.

    Args:
        problem: why the image cannot be used, '' where it can; then all else may be missing.
        mask_problem: why its mask cannot be used.
        size: (height, width) in pixels.
        mode: Pillow's name of the pixel format.
        format: of the file, by its content.
        orientation: EXIF orientation, 1 (upright) to 8.
        digest: SHA-256 of size and pixels as RGB.
        thumbnail: what near duplicates are found by, see `fingerprint`.
        white: share of white background.
        stain: mean optical density (base e) over the tissue of haematoxylin, eosin, and of what is
            neither.
        focus: variance of the Laplacian of the grey values (0 to 255) over the tissue.
        pixels: K + 1 counts of the mask's pixels, the last one of ignored ones.
    """

    problem: str = ""
    mask_problem: str = ""
    size: tuple[int, int] | None = None
    mode: str = ""
    format: str = ""
    orientation: int = 1
    digest: bytes = b""
    thumbnail: bytes = b""
    white: float | None = None
    stain: tuple[float, float, float] | None = None
    focus: float | None = None
    pixels: tuple[int, ...] | None = None


def measure(image: Path, mask: Path | None, n_classes: int, rule: WhiteConfig) -> Facts:
    """Read an image and its mask and measure both; what cannot be read becomes a reason.

    Args:
        image: the image.
        mask: its mask, if there is one.
        n_classes: K.
        rule: which pixels are white background.
    """
    try:
        info = probe(image)
        rgb = read_image(image)
    except ImageError as error:
        return Facts(problem=reason_of(error, image))
    size = (rgb.shape[0], rgb.shape[1])
    pixels, mask_problem = _count(mask, n_classes, size)
    white, stain, focus = tissue_facts(rgb, rule)
    return Facts(
        mask_problem=mask_problem,
        size=size,
        mode=info.mode,
        format=info.format,
        orientation=info.orientation,
        digest=hashlib.sha256(repr(size).encode() + rgb.data).digest(),
        thumbnail=thumbnail(rgb),
        white=white,
        stain=stain,
        focus=focus,
        pixels=pixels,
    )


def _count(
    mask: Path | None, n_classes: int, size: tuple[int, int]
) -> tuple[tuple[int, ...] | None, str]:
    if mask is None:
        return None, ""
    try:
        counts = np.bincount(read_mask(mask, n_classes, size).ravel(), minlength=256)
    except ImageError as error:
        return None, reason_of(error, mask)
    return (*(int(n) for n in counts[:n_classes]), int(counts[IGNORE_INDEX])), ""


def tissue_facts(
    image: UInt8, rule: WhiteConfig
) -> tuple[float, tuple[float, float, float] | None, float | None]:
    """White share, stain and sharpness of an image.

    Large images are measured on 16 windows spread evenly over them.

    Args:
        image: (H, W, 3) uint8 RGB.
        rule: which pixels are white background.

    Returns:
        Share of white pixels; mean optical density over the others of haematoxylin, eosin and the
        rest (Ruifrok & Johnston 2001); variance of the Laplacian over them (Pech-Pacheco et al.,
        ICPR 2000). The last two are None where there is hardly any tissue.
    """
    pieces = [(piece, ~white_mask(piece, rule)) for piece in _windows(image)]
    tissue = sum(int(inside.sum()) for _, inside in pieces)
    white = 1 - tissue / sum(inside.size for _, inside in pieces)
    if tissue < LEAST_TISSUE:
        return white, None, None
    counts = sum(_histograms(piece[inside]) for piece, inside in pieces)
    haematoxylin, eosin, rest = ((counts @ _DENSITY / tissue) @ _HED_FROM_RGB).tolist()
    edges = np.concatenate([_laplacian(piece, inside) for piece, inside in pieces])
    focus = float(edges.var(dtype=np.float64)) if edges.size >= LEAST_TISSUE else None
    return white, (haematoxylin, eosin, rest), focus


def _windows(image: UInt8) -> list[UInt8]:
    height, width = image.shape[:2]
    if height * width <= MAX_MEASURED:
        return [image]
    tops, lefts = (
        np.linspace(0, max(0, length - WINDOW), WINDOWS).astype(int) for length in (height, width)
    )
    return [image[y : y + WINDOW, x : x + WINDOW] for y in tops for x in lefts]


def _histograms(pixels: UInt8) -> npt.NDArray[np.int64]:
    """(3, 256) counts of the values of each channel of (N, 3) pixels."""
    return np.stack([np.bincount(pixels[:, c], minlength=256) for c in range(3)])


def _laplacian(image: UInt8, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Laplacian at the pixels inside; those at the image's border have none."""
    if min(image.shape[:2]) < 3:
        return np.zeros(0, np.float32)
    grey = image @ _LUMA
    across = grey[1:-1, :-2] + grey[1:-1, 2:]
    down = grey[:-2, 1:-1] + grey[2:, 1:-1]
    values = across + down - 4 * grey[1:-1, 1:-1]
    return np.asarray(values[inside[1:-1, 1:-1]], np.float32)
