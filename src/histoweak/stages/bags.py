"""Stage `bags` of the cascade: instances of a coarse round become images of a finer one.

Xu et al. (ICCV 2019), section 3.3: choosing one instance of very many wastes data. Each patch is
cut into coarse instances, which the classifier of the coarse round labels; they are bags of the
next round, beside the patches themselves.
"""

from functools import partial

import numpy as np
import torch
from pydantic import Field

from histoweak.config import StrictConfig
from histoweak.data.frames import FrameStore
from histoweak.data.instances import INSTANCES, lattice, lattice_size, write_instances
from histoweak.inference.model import load_model
from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.pipeline import Stage, StageContext
from histoweak.stages.classifier import usual_window
from histoweak.stages.cmil import CmilConfig, Round
from histoweak.stages.instances import probs_of
from histoweak.training.config import RuntimeConfig


class EnrichedBagsConfig(StrictConfig):
    """Which coarse instances become bags.

    A coarse instance is labelled with the classes of its patch that reach `threshold`; without
    any it is left out.
    """

    threshold: float = Field(0.5, ge=0, le=1)


class CascadeConfig(StrictConfig):
    """A round on coarser instances before the last one; `cmil.net.side` should be a multiple."""

    cmil: CmilConfig = CmilConfig(net=InstanceNetConfig(side=128, strides=(64,)))
    bags: EnrichedBagsConfig = EnrichedBagsConfig()


def bags_stage(config: EnrichedBagsConfig, runtime: RuntimeConfig, round_: Round) -> Stage:
    """Make the stage behind a round; its artefact holds `instances.json` (see `InstanceStore`)."""
    classifier = round_.name("classifier")
    run = partial(_run, config, runtime, classifier)
    return Stage("bags", config, ("frames", classifier), run)


def _run(
    config: EnrichedBagsConfig, runtime: RuntimeConfig, classifier: str, context: StageContext
) -> None:
    store = FrameStore(context.inputs["frames"])
    device = runtime.torch_device()
    network = load_model(context.inputs[classifier] / "model", device=device).network
    assert isinstance(network, InstanceNet)  # noqa: S101 - for type checkers
    number = lattice_size(usual_window(store, 1), network.side)
    boxes, labels = [], []
    frames = context.progress.track(enumerate(store.frames), len(store), "labelling bags")
    for index, frame in frames:
        windows = torch.tensor([(0.0, *box) for box in frame.boxes])
        squares = lattice(windows, number, network.side).to(device)
        pixels = torch.from_numpy(np.array(store.image(index))).permute(2, 0, 1)[None].to(device)
        own = torch.tensor(frame.labels, device=device)
        found = (probs_of(network, pixels, squares) >= config.threshold) & (own[:, None, :] > 0)
        kept = found.any(dim=2)
        patches = np.asarray(frame.boxes, np.float64)
        boxes.append(np.concatenate([patches, squares[kept][:, 1:].cpu().double().numpy()]))
        given = np.asarray(frame.labels, np.float64)
        labels.append(np.concatenate([given, found[kept].cpu().double().numpy()]))
    write_instances(context.out / INSTANCES, boxes, labels)
