"""Stage `bags` of the cascade: instances of a coarse round become images of a finer one.

Xu et al. (ICCV 2019), section 3.3: choosing one instance of very many wastes data. Each patch is
cut into coarse instances, which the classifier of the coarse round labels; they are bags of the
next round, beside the patches themselves.
"""

from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from histoweak.config import StrictConfig
from histoweak.data.frames import Frame, FrameStore
from histoweak.data.instances import INSTANCES, lattices, write_instances
from histoweak.inference.model import load_model
from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.objectives.mil import naming
from histoweak.pipeline import Stage, StageContext
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
    """A round on coarser instances before the last one.

    Its `cmil.net.side` is a multiple, twice or more, of that of the last round. What `cmil` leaves
    open here, but for side and strides, is as in the last round.
    """

    cmil: CmilConfig = CmilConfig(net=InstanceNetConfig(side=128, strides=(64,)))
    bags: EnrichedBagsConfig = EnrichedBagsConfig()


def bags_stage(config: EnrichedBagsConfig, runtime: RuntimeConfig, round_: Round) -> Stage:
    """Make the stage behind a round; its artefact holds `instances.json` (see `InstanceStore`)."""
    classifier = round_.name("classifier")
    run = partial(_run, config, runtime, classifier)
    return Stage("bags", config, ("frames", classifier), run, version=2)


def _run(
    config: EnrichedBagsConfig, runtime: RuntimeConfig, classifier: str, context: StageContext
) -> None:
    store = FrameStore(context.inputs["frames"])
    device = runtime.torch_device()
    network = load_model(context.inputs[classifier] / "model", device=device).network
    assert isinstance(network, InstanceNet)  # noqa: S101 - for type checkers
    boxes, labels = [], []
    frames = context.progress.track(enumerate(store.frames), len(store), "labelling bags")
    for index, frame in frames:
        squares, known = bags_of(
            network, store.image(index), frame, config.threshold, torch.device(device)
        )
        boxes.append(np.concatenate([np.asarray(frame.boxes, np.float64), squares]))
        labels.append(np.concatenate([np.asarray(frame.labels, np.float64), known]))
    write_instances(context.out / INSTANCES, boxes, labels)


def bags_of(
    network: InstanceNet,
    image: npt.NDArray[np.uint8],
    frame: Frame,
    threshold: float,
    device: torch.device,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coarse instances of a frame that become bags.

    Args:
        network: the classifier of coarse instances.
        image: (H, W, 3) of the frame.
        frame: windows and their labels, K bits each.
        threshold: probability from which on a class of the patch is in the instance.
        device: that of the network.

    Returns:
        Boxes (n, 4) in pixels of the frame and labels (n, K).
    """
    windows = torch.tensor([(0.0, *box) for box in frame.boxes])
    squares, real = (part.to(device) for part in lattices(windows, network.side))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(device)
    own = naming(torch.tensor(frame.labels, device=device), network.negative)
    found = (probs_of(network, pixels, squares, real) >= threshold) & (own[:, None, :] > 0)
    kept = real & found.any(dim=2)
    return squares[kept][:, 1:].cpu().double().numpy(), found[kept].cpu().double().numpy()
