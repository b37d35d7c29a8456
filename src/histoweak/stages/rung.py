"""The steps of the ladder: what labels the held-out images, each in its own way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from histoweak.config import StrictConfig
from histoweak.inference.config import Options, views
from histoweak.inference.gate import present_classes
from histoweak.inference.model import TissueModel
from histoweak.stages.evaluation_config import EvaluationConfig
from histoweak.stages.scores import ScoresConfig, shown_views
from histoweak.stages.view import View

UInt8 = npt.NDArray[np.uint8]
Predict = Callable[[UInt8, float | None, View | None], UInt8]
"""(image, its microns per pixel, what the classifier sees in it) -> mask."""


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: name, test-time augmentation, how it predicts, and its gate."""

    name: str
    tta: str
    predict: Predict
    gate: str = "none"


@dataclass(frozen=True)
class RungMaker:
    """A rung that a method adds between "pseudo-mask" and the segmenters.

    Args:
        name: what tables call it.
        tta: the orientations and magnifications that it sees, for tables.
        inputs: names of the stages whose artefacts it needs.
        make: (artefact folder of each input, device) -> how it predicts.
        setting: all else that decides what it predicts.
    """

    name: str
    tta: str
    inputs: tuple[str, ...]
    make: Callable[[Mapping[str, Path], str], Predict]
    setting: StrictConfig | None = None

    def __call__(self, folders: Mapping[str, Path], device: str) -> Rung:
        """Make the rung."""
        return Rung(self.name, self.tta, self.make(folders, device))


def classifier_rungs(cam: ScoresConfig, *, refined: bool) -> list[Rung]:
    """The rungs below the segmenter: the plain CAM, and its scores where they become masks."""
    plain_rung = Rung("CAM", "none", lambda image, mpp, view: _seen(view).cam())
    if not refined:
        return [plain_rung]
    fine = Rung("pseudo-mask", shown_views(cam), lambda image, mpp, view: _seen(view).refined())
    return [plain_rung, fine]


def _seen(view: View | None) -> View:
    if view is None:
        raise ValueError("a rung needs the view of a classifier")
    return view


def segmenter_rung(name: str, model: TissueModel, config: EvaluationConfig) -> Rung:
    """The rung of a segmenter, with the views, the tiles and the gate of the evaluation."""

    def predict(image: UInt8, mpp: float | None, view: View | None) -> UInt8:
        present = None
        if config.gate == "predicted":
            found = torch.from_numpy(_seen(view).probs)
            present = present_classes(found, config.gate_threshold).numpy()
        options = Options(
            tta=config.tta, tile=config.tile, overlap=config.overlap, scales=config.scales
        )
        return model.predict(image, mpp, present, config.gate_form, **options).array

    return Rung(name, views(config.tta, config.scales), predict, config.gate_words())
