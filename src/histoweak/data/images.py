"""Read images and masks from disk, and say clearly why one cannot be read.

Files are untrusted: the size is judged from the header before anything is decoded, only five
formats are tried, and whatever a decoder raises becomes an `ImageError`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from histoweak.classes import IGNORE_INDEX
from histoweak.data.skips import Skips
from histoweak.errors import ImageError

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SUFFIXES",
    "ImageInfo",
    "Skips",
    "probe",
    "read_image",
    "read_mask",
]

MAX_PIXELS = 200_000_000
"""Largest image that is decoded whole; larger ones are slides, which are read in parts."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
"""Formats that are tried, whatever the file's suffix says."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
"""File suffixes by which images are found in a folder."""

_REPAIR = "Replace the file by an intact copy, or take its row out of the manifest"
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that exchange height and width
_pillow_limit = threading.Lock()


@dataclass(frozen=True)
class ImageInfo:
    """What the header of an image says.

    Args:
        size: (height, width) in pixels as `read_image` returns it, EXIF rotation applied.
        mode: Pillow's name of the pixel format, e.g. "RGB", "P", "I;16".
        format: "PNG", "JPEG", "TIFF", "BMP", "WEBP" (or "MPO", a JPEG with more than one picture).
        orientation: EXIF orientation, 1 (upright) to 8.
    """

    size: tuple[int, int]
    mode: str
    format: str
    orientation: int = 1


def probe(path: Path) -> ImageInfo:
    """Read the header of an image and nothing else.

    Raises:
        ImageError: missing, empty, no image, or more than `MAX_PIXELS` pixels.
    """
    with _opened(path) as image:
        width, height = image.size
        orientation = _orientation(image)
        # TIFF files come with their size already turned.
        if image.format != "TIFF" and orientation in _SIDEWAYS:
            width, height = height, width
        return ImageInfo((height, width), image.mode, str(image.format), orientation)


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image to 8-bit RGB, turned upright as its EXIF orientation says.

    Grey, palette and CMYK images are converted; transparent pixels are laid on white, the
    background of a slide; 16-bit values v become round(v / 257), so that 65535 becomes 255.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: as `probe`, and truncated, undecodable or of 32-bit pixels.
    """
    with _opened(path) as image:
        _refuse_modes(path, image)
        upright = _upright(image)
        if upright.mode.startswith("I;16"):
            grey = (np.asarray(upright).astype(np.uint32) + 128) // 257
            return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
        if upright.has_transparency_data:
            layer = upright.convert("RGBA")
            white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            upright = Image.alpha_composite(white, layer)
        # Converting RGB to RGB would copy it: of a large image, as much memory again.
        rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
        return np.array(rgb, dtype=np.uint8)


def read_mask(
    path: Path, n_classes: int, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """Decode an index mask: one channel (or a palette) whose values are class indices.

    Args:
        path: PNG, TIFF or BMP file.
        n_classes: K; values are 0..K-1 or `IGNORE_INDEX`.
        size: (height, width) of the image that the mask belongs to, if it must agree.

    Returns:
        (H, W) uint8.

    Raises:
        ImageError: as `read_image`, and colours, a lossy format, another size, unknown values.
    """
    with _opened(path) as image:
        if image.mode not in {"1", "L", "P"} and not image.mode.startswith("I;16"):
            raise ImageError(
                f"mask has pixel format {image.mode}",
                where=path,
                expected="one channel of class indices",
                remedy="Write the mask as an 8-bit grey or palette PNG of class indices",
            )
        if image.format in {"JPEG", "MPO"}:
            raise ImageError(
                "mask is a JPEG, whose compression changes class indices",
                where=path,
                expected="PNG",
                remedy="Write the mask losslessly, as PNG",
            )
        values = np.asarray(_upright(image))
    if size is not None and values.shape != size:
        raise ImageError(
            f"mask is {values.shape[0]}x{values.shape[1]} (height x width)",
            where=path,
            expected=f"{size[0]}x{size[1]} as its image",
            remedy="Give the mask that belongs to this image, at the image's own resolution",
        )
    _refuse_values(path, values, n_classes)
    return values.astype(np.uint8)


def _refuse_values(path: Path, values: npt.NDArray[np.generic], n_classes: int) -> None:
    present = np.flatnonzero(np.bincount(values.ravel().astype(np.int64), minlength=256))
    unknown = present[(present >= n_classes) & (present != IGNORE_INDEX)]
    if unknown.size:
        shown = ", ".join(str(v) for v in unknown[:5]) + (", ..." if unknown.size > 5 else "")
        raise ImageError(
            f"mask has the unknown value{'s' if unknown.size > 1 else ''} {shown}",
            where=path,
            expected=f"0 to {n_classes - 1}, or {IGNORE_INDEX} for ignored pixels",
            remedy="Map the mask's values to the order of the classes",
        )


def _refuse_modes(path: Path, image: Image.Image) -> None:
    if image.mode in {"I", "F"}:
        # There is no telling which of its values stands for white.
        raise ImageError(
            f"pixels of 32 bits (mode {image.mode})",
            where=path,
            expected="8 or 16 bits per channel",
            remedy="Convert the image to 8-bit RGB",
        )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation by the header alone; 1 where there is none."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole file to look for a trailing chunk
    return int(image.getexif().get(_ORIENTATION_TAG, 1))


def _upright(image: Image.Image) -> Image.Image:
    turn = image.format != "TIFF" and _orientation(image) != 1
    image.load()  # a TIFF is turned here by Pillow
    return ImageOps.exif_transpose(image) if turn else image


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image of an allowed format and size; turn any failure into an `ImageError`."""
    try:
        if not path.is_file():
            problem = "is no regular file" if path.exists() else "does not exist"
            raise ImageError(problem, where=_shown(path), remedy="Correct the path")
        if path.stat().st_size == 0:
            raise ImageError("has zero bytes", where=path, remedy=_REPAIR)
        # Pillow's own limit is lower and global: lift it for the moment of reading the header.
        with _pillow_limit:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(path, formats=FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"{image.width} x {image.height} pixels",
                    where=path,
                    expected=f"at most {MAX_PIXELS // 1_000_000} megapixels",
                    remedy="Cut the image into tiles, or treat it as a whole-slide image",
                )
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            "is no image that can be read", where=path, expected=", ".join(FORMATS), remedy=_REPAIR
        ) from error
    except Exception as error:  # decoders raise anything: struct.error, SyntaxError, MemoryError...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot be decoded ({reason})", where=_shown(path), remedy=_REPAIR) from (
            error
        )


def _shown(path: Path) -> str:
    """A path fit for one line of a terminal, whatever bytes it holds."""
    text = str(path)
    return text if text.isprintable() else repr(text)
