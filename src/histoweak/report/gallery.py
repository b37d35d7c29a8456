"""Pictures of single patches: how each is drawn and embedded."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.export.png import heatmap, overlay
from histoweak.report.data import Gallery, Pixels, Sample, Scores

TILE_WIDTH = 320
SCORE_WIDTH = 160
MOST_SCORES = 4
TINT = 0.5


@dataclass(frozen=True)
class Picture:
    """An embedded picture; `class_index` marks a score map."""

    caption: str
    uri: str
    class_index: int | None = None


@dataclass(frozen=True)
class Tile:
    """One column of a sample: one picture, or the score maps of several classes."""

    caption: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class GalleryView:
    """What the template shows of a `Gallery`."""

    title: str
    reading: str
    samples: tuple[tuple[Sample, tuple[Tile, ...]], ...]


def gallery_view(gallery: Gallery, classes: ClassSet) -> GalleryView:
    """Draw the samples of a gallery."""
    drawn = ((sample, sample_tiles(sample, classes)) for sample in gallery.samples)
    return GalleryView(gallery.title, gallery.reading, tuple(drawn))


def sample_tiles(sample: Sample, classes: ClassSet) -> tuple[Tile, ...]:
    """Image, scores, pseudo-mask, prediction and truth of a patch; missing ones are left out."""
    image = _shrunk(sample.image, TILE_WIDTH)
    tiles = [Tile("Image", (Picture("image", data_uri(image)),))]
    maps = _score_maps(sample, classes)
    if maps:
        small = _shrunk(sample.image, SCORE_WIDTH if len(maps) > 1 else TILE_WIDTH)
        drawn = (
            Picture(f"scores of {classes.names[k]}", data_uri(heatmap(small, scores)), k)
            for k, scores in maps
        )
        caption = f"Scores of {classes.names[maps[0][0]]}" if len(maps) == 1 else "Scores"
        tiles.append(Tile(caption, tuple(drawn)))
    masks = (
        ("Pseudo-mask", sample.pseudo_mask),
        ("Prediction", sample.prediction),
        ("Truth", sample.truth),
    )
    for caption, mask in masks:
        if mask is not None:
            uri = data_uri(overlay(image, mask, classes, TINT))
            tiles.append(Tile(caption, (Picture(caption.lower(), uri),)))
    return tuple(tiles)


def data_uri(picture: Pixels) -> str:
    """(H, W, 3) uint8 as a JPEG inside an address; colours at full resolution keep outlines."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=82, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _score_maps(sample: Sample, classes: ClassSet) -> list[tuple[int, Scores]]:
    """Score maps to show: of the classes that occur in the patch, else of the strongest."""
    if sample.scores is None:
        return []
    if isinstance(sample.scores, Mapping):
        maps = {classes.names.index(name): scores for name, scores in sample.scores.items()}
    else:
        maps = dict(enumerate(sample.scores))
    masks = (sample.truth, sample.prediction, sample.pseudo_mask)
    there = {int(k) for mask in masks if mask is not None for k in np.unique(mask)}
    wanted = [k for k in maps if k in there - {IGNORE_INDEX}] or list(maps)
    strongest = sorted(wanted, key=lambda k: (-float(np.nanmean(maps[k])), k))[:MOST_SCORES]
    return [(k, maps[k]) for k in sorted(strongest)]


def _shrunk(image: Pixels, width: int) -> Pixels:
    height, full = image.shape[:2]
    if full <= width:
        return image
    size = (width, max(1, round(height * width / full)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
