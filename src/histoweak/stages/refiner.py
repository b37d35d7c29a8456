"""Stage `refiner`: train a network to repeat the scores of the training frames.

Kim, Han & Kim (AAAI 2021, arXiv 2103.07246), section 3.2. A network of the classifier's layout
learns to predict, from the image alone, which class is strongest at each pixel, and how strong.
What is the same in many images stays; what was an accident of one map is averaged away.
"""

import json
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from histoweak.config import StrictConfig
from histoweak.data.crops import AugmentConfig, Batch, CropDataset
from histoweak.data.frames import FrameStore
from histoweak.errors import ConfigError
from histoweak.inference.model import TissueModel, load_model
from histoweak.nets.cam_classifier import ClassifierNetConfig
from histoweak.nets.kinds import build_network
from histoweak.nets.refiner import RefinerNetConfig
from histoweak.objectives.regression import UNKNOWN, peak_target, refinement_loss
from histoweak.pipeline import Stage, StageContext, is_leader
from histoweak.refine.threshold import among_allowed
from histoweak.refine.white import WhiteConfig, white_mask
from histoweak.stages.classifier import MULTIPLE, usual_window
from histoweak.stages.model_folder import keep_model
from histoweak.stages.pseudo_masks import allowed_classes, enlarge
from histoweak.stages.scores import Reading, read_scores, score_file
from histoweak.training.config import RuntimeConfig, TrainConfig
from histoweak.training.fit import fit, seeded

KEPT = 1 << 28
"""Bytes of targets that a process keeps in memory; those of further frames are made anew."""


class RefinerConfig(StrictConfig):
    """The refinement network.

    `crop` is as in the classifier. `start` is where the weights below the class head come from:
    `classifier`, which has to have the same layers, or `own` (what `net.weights` says). Classes
    that the labels exclude at a pixel weigh `absent_weight` in the loss. Pixels of white background
    take no part; `white` is null where white may be tissue.
    """

    net: RefinerNetConfig = RefinerNetConfig()
    start: Literal["classifier", "own"] = "classifier"
    fit: TrainConfig = TrainConfig(steps=500)
    augment: AugmentConfig = AugmentConfig()
    crop: int | None = Field(None, ge=MULTIPLE, multiple_of=MULTIPLE)
    absent_weight: float = Field(1.0, ge=0)
    balance: Literal["patient", "none"] = "patient"
    white: WhiteConfig | None = WhiteConfig()


def refiner_stage(
    config: RefinerConfig, classifier: ClassifierNetConfig, reading: Reading, runtime: RuntimeConfig
) -> Stage:
    """Make the stage; its artefact holds `model/`.

    Args:
        config: its settings.
        classifier: the network that it may start from.
        reading: what the scores mean.
        runtime: device and processes.

    Raises:
        ConfigError: it is to start from a classifier of other layers.
    """
    same = RefinerNetConfig.model_fields.keys() - {"weights"}
    other = sorted(n for n in same if getattr(config.net, n) != getattr(classifier, n))
    if config.start == "classifier" and other:
        raise ConfigError(
            f"refiner.start = 'classifier', but refiner.net.{other[0]} = "
            f"{getattr(config.net, other[0])!r} and classifier.net.{other[0]} = "
            f"{getattr(classifier, other[0])!r}",
            expected="the same layers in both networks",
            remedy="Make them equal, or set refiner.start to own",
        )
    inputs = ("frames", "scores", *(["classifier"] if config.start == "classifier" else []))
    run = partial(_run, config, reading, runtime)
    return Stage("refiner", config, inputs, run, distributed=True)


def _run(
    config: RefinerConfig, reading: Reading, runtime: RuntimeConfig, context: StageContext
) -> None:
    store = FrameStore(context.inputs["frames"])
    classes = context.manifest.classes
    seeded(context.seed, "refiner")
    network = build_network(config.net, len(classes))
    if config.start == "classifier":
        start_from(network, load_model(context.inputs["classifier"] / "model").network)
    targets = Targets(store, context.inputs["scores"], reading, len(classes), config.white)
    dataset = CropDataset(
        store,
        size=config.crop or usual_window(store, MULTIPLE),
        augment=config.augment,
        seed=context.seed,
        n_classes=len(classes),
        balance=config.balance,
        mask_of=targets,
    )

    def objective(network: nn.Module, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        if batch.masks is None:
            raise RuntimeError("crops came without targets")
        maps = F.interpolate(
            network(images), images.shape[2:], mode="bilinear", align_corners=False
        )
        return {"loss": refinement_loss(maps, batch.masks, config.absent_weight)}

    trained = fit(
        network,
        objective,
        dataset,
        config.fit,
        runtime,
        context,
        description="training the refinement network",
    )
    if is_leader():
        model = TissueModel(trained, config.net, classes, store.frames[0].mpp)
        keep_model(model, context.out)


def start_from(network: nn.Module, classifier: nn.Module) -> None:
    """Take over all weights but those of the class head, in place."""
    known = classifier.state_dict()
    own = {name: value for name, value in network.state_dict().items() if name.startswith("head.")}
    network.load_state_dict({name: known[name] for name in network.state_dict()} | own)


class Targets:
    """Makes the targets of a frame from its scores, and keeps them up to `KEPT` bytes.

    Args:
        store: the frames.
        folder: artefact of the stage `scores`.
        reading: what the scores mean.
        n_classes: K.
        white: rule for white background.
    """

    def __init__(
        self,
        store: FrameStore,
        folder: Path,
        reading: Reading,
        n_classes: int,
        white: WhiteConfig | None,
    ) -> None:
        self.store, self.folder, self.reading = store, folder, reading
        self.n_classes, self.white = n_classes, white
        self.stride = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["stride"]
        self._kept: dict[int, npt.NDArray[np.uint8]] = {}
        self._room = KEPT

    def __call__(self, index: int) -> npt.NDArray[np.uint8]:
        """(K, H, W) uint8 codes of `peak_target` for the frame at an index."""
        if index in self._kept:
            return self._kept[index]
        target = self._make(index)
        if target.nbytes <= self._room:
            self._kept[index] = target
            self._room -= target.nbytes
        return target

    def _make(self, index: int) -> npt.NDArray[np.uint8]:
        frame = self.store.frames[index]
        coarse = read_scores(self.folder / score_file(index))
        scores = enlarge(coarse, self.stride, (frame.height, frame.width))
        silent = np.zeros((len(frame.boxes), self.n_classes), np.float32)
        allowed = allowed_classes(frame, silent, None, self.n_classes)
        if self.reading == "posterior":
            scores = among_allowed(scores, allowed)
        target = peak_target(scores, allowed)
        if self.white is not None:
            target[:, white_mask(self.store.image(index), self.white)] = UNKNOWN
        return target
