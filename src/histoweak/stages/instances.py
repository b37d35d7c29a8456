"""Stage `instances`: a data set of instances on which classifier and label agree.

Xu et al. (ICCV 2019), section 3.2. Both classifiers choose among the instances of every training
patch by their own criterion. A chosen instance is kept if the classifier calls it what the label
says; where one classifier agrees and the other does not, the mean of their probabilities decides.
"""

import json
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from histoweak.config import StrictConfig
from histoweak.data.frames import Frame, FrameStore
from histoweak.data.instances import (
    INSTANCES,
    cut,
    lattice,
    lattice_size,
    tissue,
    write_instances,
)
from histoweak.inference.model import load_model
from histoweak.nets.instances import AT_ONCE, InstanceNet
from histoweak.objectives.mil import Criterion, choose
from histoweak.pipeline import Stage, StageContext, atomic_write_text
from histoweak.stages.classifier import usual_window
from histoweak.stages.cmil import FIRST, BagConfig, Round, judge
from histoweak.training.config import RuntimeConfig

CRITERIA: dict[str, Criterion] = {"cmil-max": "max-max", "cmil-min": "max-min"}
UNKNOWN = -1


class InstancesConfig(StrictConfig):
    """Which instances are kept.

    `threshold` is the probability from which on a classifier says that a class is there. `per_bag`
    is the share of a patch's instances that each classifier may choose for a class; 0 chooses one.
    `agreement: false` keeps every chosen instance.
    """

    threshold: float = Field(0.5, ge=0, le=1)
    per_bag: float = Field(0.0, ge=0, le=1)
    agreement: bool = True


def instances_stage(
    config: InstancesConfig, bags: BagConfig, runtime: RuntimeConfig, round_: Round = FIRST
) -> Stage:
    """Make the stage; its artefact holds `instances.json` (see `InstanceStore`) and counts."""
    run = partial(_run, config, bags, runtime, round_)
    inputs = ("frames", *(round_.name(stage) for stage in CRITERIA), *round_.bags)
    return Stage(round_.name("instances"), _Setting(instances=config, bags=bags), inputs, run)


class _Setting(StrictConfig):
    """All that decides which instances are kept."""

    instances: InstancesConfig
    bags: BagConfig


def _run(
    config: InstancesConfig,
    bags: BagConfig,
    runtime: RuntimeConfig,
    round_: Round,
    context: StageContext,
) -> None:
    store, patches = round_.store(context), FrameStore(context.inputs["frames"])
    device = runtime.torch_device()
    folders = {c: context.inputs[round_.name(stage)] for stage, c in CRITERIA.items()}
    models = {c: load_model(folder / "model", device=device) for c, folder in folders.items()}
    networks: dict[Criterion, InstanceNet] = {}
    for criterion, model in models.items():
        assert isinstance(model.network, InstanceNet)  # noqa: S101 - for type checkers
        networks[criterion] = model.network
    side = networks["max-max"].side
    number = lattice_size(usual_window(patches, 1), side)
    boxes, targets = [], []
    frames = context.progress.track(enumerate(store.frames), len(store), "choosing instances")
    for index, frame in frames:
        squares, known = _of_frame(
            store.image(index), frame, networks, number, config, bags, device
        )
        boxes.append(squares)
        targets.append(known)
    write_instances(context.out / INSTANCES, boxes, targets)
    found = np.concatenate(targets)
    names = context.manifest.classes.names
    counts = {
        name: {"present": int((found[:, k] == 1).sum()), "absent": int((found[:, k] == 0).sum())}
        for k, name in enumerate(names)
    }
    atomic_write_text(context.out / "counts.json", json.dumps(counts, indent=2))
    context.progress.say(f"{len(found)} instances kept")


def _of_frame(
    image: npt.NDArray[np.uint8],
    frame: Frame,
    networks: dict[Criterion, InstanceNet],
    number: int,
    config: InstancesConfig,
    bags: BagConfig,
    device: str,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Boxes (n, 4) and targets (n, K) of the instances of one frame that are kept."""
    side = networks["max-max"].side
    windows = torch.tensor([(0.0, *box) for box in frame.boxes])
    squares = lattice(windows, number, side).to(device)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(device)
    valid = tissue(pixels, squares, bags.gray, bags.blank)
    probs = {c: probs_of(network, pixels, squares) for c, network in networks.items()}
    labels = torch.tensor(frame.labels, device=device)
    targets = known_targets(probs, labels, valid, config)
    kept = (targets != UNKNOWN).any(dim=2)
    return (
        squares[kept][:, 1:].cpu().double().numpy(),
        targets[kept].cpu().double().numpy(),
    )


def probs_of(network: InstanceNet, pixels: Tensor, squares: Tensor) -> Tensor:
    """Probabilities of squares, a few windows at a time.

    Args:
        network: the classifier of instances.
        pixels: (1, 3, H, W) uint8.
        squares: (N, n, 5).

    Returns:
        (N, n, K).
    """
    images = pixels.float() / 255
    at_once = max(1, AT_ONCE // squares.shape[1])
    parts = [
        judge(network, cut(images, part, network.side)) for part in torch.split(squares, at_once)
    ]
    return torch.cat(parts)


def known_targets(
    probs: dict[Criterion, Tensor], labels: Tensor, valid: Tensor, config: InstancesConfig
) -> Tensor:
    """What is known of every instance.

    Args:
        probs: by criterion, (N, n, K) probabilities of the n instances of N windows.
        labels: (N, K) 0 or 1.
        valid: (N, n) instances that may be chosen.
        config: which are kept.

    Returns:
        (N, n, K): 1 or 0 where an instance was chosen for a class and agrees with the label; for
        such instances also 0 for every class that the window lacks; -1 elsewhere.
    """
    said = labels[:, None, :].expand_as(probs["max-max"])
    chosen = torch.zeros_like(said, dtype=torch.bool)
    for criterion, own in probs.items():
        picks = choose(own, labels, valid, criterion, config.per_bag).transpose(1, 2)
        agrees = (own >= config.threshold) == (said > 0)
        picked = torch.zeros_like(chosen).scatter_(1, picks, True)
        chosen |= picked & (agrees if config.agreement else torch.ones_like(agrees))
    if config.agreement:
        mean = torch.stack(list(probs.values())).mean(dim=0)
        chosen &= (mean >= config.threshold) == (said > 0)
    targets = torch.where(chosen, said, UNKNOWN)
    absent = chosen.any(dim=2, keepdim=True) & (said == 0)
    return torch.where(absent, 0, targets) * 1
