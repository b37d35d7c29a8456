"""Stage `instance-evaluation`: how well single instances of held-out images are classified.

Every cell of the class maps is one instance. Its truth is the class that covers most of its
square, where at least half of the square is labelled; its prediction the strongest class.
`instances.json` holds accuracy, and sensitivity (recall) and specificity per class, of one plain
pass without labels.
"""

import json
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.atomic import atomic_write_text
from histoweak.classes import IGNORE_INDEX
from histoweak.data.rescale import rescaled_size
from histoweak.data.skips import Skips
from histoweak.inference.evaluate import read_pair
from histoweak.inference.model import load_model
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.ratio import plain
from histoweak.metrics.scores import pixel_accuracy, recall, specificity
from histoweak.nets.instances import InstanceNetConfig
from histoweak.pipeline import Stage, StageContext
from histoweak.stages.evaluation import held_out
from histoweak.stages.evaluation_config import EvaluationConfig
from histoweak.training.config import RuntimeConfig

UInt8 = npt.NDArray[np.uint8]


def instance_evaluation_stage(config: EvaluationConfig, runtime: RuntimeConfig) -> Stage:
    """Make the stage."""
    run = partial(_run, config, runtime)
    return Stage("instance-evaluation", config, ("classifier",), run, version=2)


def _run(config: EvaluationConfig, runtime: RuntimeConfig, context: StageContext) -> None:
    model = load_model(context.inputs["classifier"] / "model", device=runtime.torch_device())
    assert isinstance(model.net, InstanceNetConfig)  # noqa: S101 - for type checkers
    names = context.manifest.classes.names
    split, records = held_out(context.manifest, config)
    counts = ConfusionMatrix(len(names))
    skips = Skips(len(records), config.max_skipped, context.out / "skipped.csv")
    for record in context.progress.track(records, len(records), "judging instances"):
        with skips.catch(record.image):
            image, truth = read_pair(len(names), record)
            found = model.maps(image, record.mpp, tile=config.tile).argmax(axis=0)
            scale = 1.0 if record.mpp is None or model.mpp is None else record.mpp / model.mpp
            working = rescaled_size((truth.shape[0], truth.shape[1]), scale)
            zoom = truth.shape[0] / working[0], truth.shape[1] / working[1]
            shape = (found.shape[0], found.shape[1])
            own = square_truth(truth, shape, model.stride, model.net.side, zoom, len(names))
            counts.update(found.astype(np.uint8), own)
    plainly = {"split": split, "gate": "none", "tta": "none"}
    figures: dict[str, Any] = {**plainly, "instances": int(counts.matrix.sum())}
    if figures["instances"]:
        figures["accuracy"] = plain(pixel_accuracy(counts))
        by_class = zip(names, recall(counts), specificity(counts), strict=True)
        figures["classes"] = {
            name: {"sensitivity": plain(r), "specificity": plain(s)} for name, r, s in by_class
        }
    atomic_write_text(context.out / "instances.json", json.dumps(figures, indent=2))


def square_truth(
    truth: UInt8,
    shape: tuple[int, int],
    stride: int,
    side: int,
    zoom: tuple[float, float],
    n_classes: int,
) -> UInt8:
    """Class that covers most of the square around every cell of a map.

    Args:
        truth: (H, W) class indices or 255.
        shape: (h, w) of the map.
        stride: distance of the squares in pixels at working scale.
        side: of a square in pixels at working scale.
        zoom: pixels of the truth per pixel at working scale, along rows and columns.
        n_classes: K.

    Returns:
        (h, w) class indices; 255 where less than half of the part inside the image is labelled.
    """
    low, high = zip(
        *(
            _bounds(cells, length, stride, side, factor)
            for cells, length, factor in zip(shape, truth.shape, zoom, strict=True)
        ),
        strict=True,
    )
    counts = np.stack([_covered(truth == k, low, high) for k in range(n_classes)])
    area = np.outer(high[0] - low[0], high[1] - low[1])
    strongest: UInt8 = counts.argmax(axis=0).astype(np.uint8)
    strongest[counts.sum(axis=0) * 2 < np.maximum(area, 1)] = IGNORE_INDEX
    return strongest


def _bounds(
    cells: int, length: int, stride: int, side: int, factor: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First pixel of each square and the one behind its last, within the image."""
    centres = (np.arange(cells) + 0.5) * stride
    low = np.round((centres - side / 2) * factor).clip(0, length)
    high = np.round((centres + side / 2) * factor).clip(0, length)
    return low.astype(np.int64), high.astype(np.int64)


def _covered(
    mask: npt.NDArray[np.bool_],
    low: tuple[npt.NDArray[np.int64], ...],
    high: tuple[npt.NDArray[np.int64], ...],
) -> npt.NDArray[np.int64]:
    """Pixels of a mask in every square, from its summed-area table."""
    table = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    top, bottom = table[low[0]], table[high[0]]
    result: npt.NDArray[np.int64] = (
        bottom[:, high[1]] - bottom[:, low[1]] - top[:, high[1]] + top[:, low[1]]
    )
    return result
