"""Stage `instances`: a data set of instances on which classifier and label agree.

Xu et al. (ICCV 2019), section 3.2. Both classifiers choose among the instances of every training
patch by their own criterion. A chosen instance is kept if the classifier calls it what the label
says; where one classifier agrees and the other does not, the mean of their probabilities decides.
With `certain`, a patch of one class tells of all its instances, chosen or not. Blank instances, and
those that reach beyond their frame, are not chosen.
"""

import json
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from histoweak.atomic import atomic_write_text
from histoweak.config import StrictConfig
from histoweak.data.frames import Frame
from histoweak.data.instances import (
    INSTANCES,
    cut,
    lattices,
    tissue,
    write_instances,
)
from histoweak.errors import TrainingError
from histoweak.inference.model import load_model
from histoweak.nets.instances import AT_ONCE, InstanceNet
from histoweak.objectives.mil import Criterion, certain, choose, naming
from histoweak.pipeline import Stage, StageContext
from histoweak.stages.cmil import FIRST, BagConfig, Round, judge
from histoweak.training.config import RuntimeConfig

CRITERIA: dict[str, Criterion] = {"cmil-max": "max-max", "cmil-min": "max-min"}
UNKNOWN = -1


class InstancesConfig(StrictConfig):
    """Which instances are kept.

    `threshold` is the probability from which on a classifier says that a class is there. `per_bag`
    is the share of a patch's tissue that each classifier may choose for a class; 0 chooses one.
    `agreement: false` keeps every chosen instance. `certain` keeps all instances of patches whose
    label leaves one class only.
    """

    threshold: float = Field(0.5, ge=0, le=1)
    per_bag: float = Field(0.0, ge=0, le=1)
    agreement: bool = True
    certain: bool = False


def instances_stage(
    config: InstancesConfig, bags: BagConfig, runtime: RuntimeConfig, round_: Round = FIRST
) -> Stage:
    """Make the stage; its artefact holds `instances.json` (see `InstanceStore`) and counts.

    Raises, when it runs, a TrainingError where no instance is kept.
    """
    run = partial(_run, config, bags, runtime, round_)
    inputs = ("frames", *(round_.name(stage) for stage in CRITERIA), *round_.bags)
    setting = _Setting(instances=config, bags=bags)
    return Stage(round_.name("instances"), setting, inputs, run, version=2)


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
    store = round_.store(context)
    device = runtime.torch_device()
    folders = {c: context.inputs[round_.name(stage)] for stage, c in CRITERIA.items()}
    models = {c: load_model(folder / "model", device=device) for c, folder in folders.items()}
    networks: dict[Criterion, InstanceNet] = {}
    for criterion, model in models.items():
        assert isinstance(model.network, InstanceNet)  # noqa: S101 - for type checkers
        networks[criterion] = model.network
    boxes, targets = [], []
    frames = context.progress.track(enumerate(store.frames), len(store), "choosing instances")
    for index, frame in frames:
        squares, known = instances_of(store.image(index), frame, networks, config, bags, device)
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
    _require_instances(found, names, context)


def _require_instances(
    found: npt.NDArray[np.float64], names: Sequence[str], context: StageContext
) -> None:
    """Refuse an empty data set before a training fails on it; warn where a class is missing."""
    if not len(found):
        windows = "no instance of any patch holds tissue, or none that was chosen"
        raise TrainingError(
            f"{windows} is called by its classifier what the label says",
            where="instances",
            expected="at least one to train on",
            remedy="Train longer (cmil.fit.steps), lower instances.threshold, set "
            "instances.agreement=false, or raise cmil.bags.blank",
        )
    context.progress.say(f"{len(found)} instances kept")
    lacking = [name for k, name in enumerate(names) if not (found[:, k] == 1).any()]
    if lacking:
        context.progress.say(
            f"warning: no instance that holds {', '.join(lacking)} was kept, so the classifier "
            "learns of it from whole patches alone; train longer (cmil.fit.steps) or lower "
            "instances.threshold"
        )


def instances_of(
    image: npt.NDArray[np.uint8],
    frame: Frame,
    networks: dict[Criterion, InstanceNet],
    config: InstancesConfig,
    bags: BagConfig,
    device: str,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Instances of one frame that are kept.

    Args:
        image: (H, W, 3).
        frame: windows and their labels, K bits each.
        networks: by criterion, both of one `side` and one `negative`.
        config: which are kept.
        bags: which are blank.
        device: that of the networks.

    Returns:
        Boxes (n, 4) in pixels of the frame and targets (n, K) from `known_targets`.
    """
    side, negative = networks["max-max"].side, networks["max-max"].negative
    windows = torch.tensor([(0.0, *box) for box in frame.boxes])
    squares, real = (part.to(device) for part in lattices(windows, side))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(device)
    valid = real & tissue(pixels, squares, bags.gray, bags.blank) & _within(squares, frame)
    probs = {c: probs_of(network, pixels, squares, valid) for c, network in networks.items()}
    labels = torch.tensor(frame.labels, device=device)
    targets = known_targets(probs, labels, valid, config, negative)
    kept = (targets != UNKNOWN).any(dim=2)
    return (
        squares[kept][:, 1:].cpu().double().numpy(),
        targets[kept].cpu().double().numpy(),
    )


def _within(squares: Tensor, frame: Frame) -> Tensor:
    """(N, n) bool: squares that crops can show whole, with the half pixel that these allow."""
    size = squares.new_tensor([frame.width, frame.height])
    return ((squares[..., 1:3] >= -0.5) & (squares[..., 3:] <= size + 0.5)).all(dim=2)


def probs_of(network: InstanceNet, pixels: Tensor, squares: Tensor, valid: Tensor) -> Tensor:
    """Probabilities of squares, a few windows at a time.

    Args:
        network: the classifier of instances.
        pixels: (1, 3, H, W) uint8.
        squares: (N, n, 5).
        valid: (N, n) bool, those that are asked for.

    Returns:
        (N, n, K); 0 for the others.
    """
    images = pixels.float() / 255
    at_once = max(1, AT_ONCE // squares.shape[1])
    parts = zip(torch.split(squares, at_once), torch.split(valid, at_once), strict=True)
    found = [judge(network, cut(images, some, network.side), asked) for some, asked in parts]
    return torch.cat(found)


def known_targets(
    probs: dict[Criterion, Tensor],
    labels: Tensor,
    valid: Tensor,
    config: InstancesConfig,
    negative: int | None = None,
) -> Tensor:
    """What is known of every instance.

    Args:
        probs: by criterion, (N, n, K) probabilities of the n instances of N windows.
        labels: (N, K) 0 or 1.
        valid: (N, n) instances that may be chosen.
        config: which are kept.
        negative: index of the class without answers of its own, or None.

    Returns:
        (N, n, K): 1 or 0 where an instance was chosen for a class and agrees with the label; for
        such instances also 0 for every class that the window lacks; -1 elsewhere. The negative
        class is there where no other is, absent where one is, and else unknown. With
        `config.certain`, all valid instances of a window that leaves one class have that class.
    """
    said = labels[:, None, :].expand_as(probs["max-max"])
    chosen = torch.zeros_like(said, dtype=torch.bool)
    for criterion, own in probs.items():
        picks = choose(own, labels, valid, criterion, config.per_bag)
        agrees = (own >= config.threshold) == (said > 0)
        index, counts = picks.index.transpose(1, 2), picks.valid.transpose(1, 2)
        picked = torch.zeros_like(chosen).scatter_(1, index, counts)
        chosen |= picked & (agrees if config.agreement else torch.ones_like(agrees))
    if config.agreement:
        mean = torch.stack(list(probs.values())).mean(dim=0)
        chosen &= (mean >= config.threshold) == (said > 0)
    if negative is not None:
        chosen[..., negative] = False
    targets = torch.where(chosen, said, UNKNOWN)
    absent = chosen.any(dim=2, keepdim=True) & (said == 0)
    targets = torch.where(absent, 0, targets) * 1
    if config.certain:
        told = certain(naming(labels, negative))[:, None]
        whole = valid[..., None] & (told != UNKNOWN).all(dim=2, keepdim=True)
        targets = torch.where(whole, told.to(targets), targets)
    if negative is not None:
        rest = torch.cat([targets[..., :negative], targets[..., negative + 1 :]], dim=2)
        unsure = torch.where((rest == 0).all(dim=2), 1, UNKNOWN)
        targets[..., negative] = torch.where((rest == 1).any(dim=2), 0, unsure)
    return targets
