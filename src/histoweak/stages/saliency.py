"""Saliency maps that another program made of the training images."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from histoweak.data.frames import Frame
from histoweak.data.images import SUFFIXES, read_image
from histoweak.errors import ConfigError, ImageError

UInt8 = npt.NDArray[np.uint8]
SETTING = "pseudo_masks.background.folder"


class SaliencyMaps:
    """Finds the map of a training image by its file name, whatever the endings of the two.

    Args:
        folder: holds one grey image per training image.

    Raises:
        ConfigError: no folder is given, there is none, or two files of it have one name.
    """

    def __init__(self, folder: str | None) -> None:
        if folder is None or not Path(folder).is_dir():
            raise ConfigError(
                f"{SETTING} = {folder}",
                expected="a folder of saliency maps, one grey image per training image",
                remedy="Give it with --set, or choose a recipe whose background is learned",
            )
        self.folder = Path(folder)
        self.paths: dict[str, Path] = {}
        for path in sorted(self.folder.glob("[!.]*")):
            if path.suffix.lower() not in SUFFIXES:
                continue
            if path.stem in self.paths:
                raise ConfigError(
                    f"{path.name} and {self.paths[path.stem].name} are both maps of {path.stem}",
                    where=self.folder,
                    expected="one map per training image",
                    remedy="Remove one of the two",
                )
            self.paths[path.stem] = path

    def require(self, images: Iterable[Path]) -> None:
        """Raise unless each of these images has a map of its own.

        Raises:
            ConfigError: two images have one name, so that one map would serve both.
            ImageError: an image has no map.
        """
        owners: dict[str, Path] = {}
        for image in images:
            if (other := owners.setdefault(image.stem, image)) != image:
                raise ConfigError(
                    f"{other} and {image} would share the map {image.stem}",
                    where=self.folder,
                    expected="training images of different names",
                    remedy="Rename the images, and the maps with them",
                )
            self._path(image.stem)

    def __call__(self, frame: Frame) -> UInt8:
        """(H, W) uint8 saliency of a frame; the largest where patches overlap, 0 elsewhere.

        Raises:
            ImageError: a patch of the frame has no map, or one that is not grey or of another
                shape.
        """
        canvas = np.zeros((frame.height, frame.width), np.uint8)
        for name, box in zip(frame.windows, frame.boxes, strict=True):
            x0, y0, x1, y1 = (round(v) for v in box)
            size = (min(x1, frame.width) - x0, min(y1, frame.height) - y0)
            grey = Image.fromarray(self._read(Path(name).stem, size))
            part = canvas[y0:y1, x0:x1]
            np.maximum(part, np.asarray(grey.resize(size, Image.Resampling.BILINEAR)), out=part)
        return canvas

    def _path(self, stem: str) -> Path:
        path = self.paths.get(stem)
        if path is None:
            raise ImageError(
                f"no saliency map of {stem}",
                where=self.folder,
                expected=f"{stem}.png or another image of this name",
                remedy=f"Make the map, or choose another {SETTING.removesuffix('.folder')}",
            )
        return path

    def _read(self, stem: str, size: tuple[int, int]) -> UInt8:
        path = self._path(stem)
        image = read_image(path)
        if (image != image[..., :1]).any():
            raise ImageError(
                "is not grey", where=path, remedy="Save one channel, 0 not salient to 255 salient"
            )
        height, width = image.shape[:2]
        # Both are rounded to whole pixels.
        if abs(width / height - size[0] / size[1]) > 2 / min(*size, height, width):
            raise ImageError(
                f"{width} x {height} pixels for a patch of {size[0]} x {size[1]}",
                where=path,
                expected="the shape of the patch, at any scale",
                remedy="Make the map of the whole patch again",
            )
        return image[..., 0]
