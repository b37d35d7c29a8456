import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from histoweak.classes import ClassSet
from histoweak.data.crops import AugmentConfig, Batch
from histoweak.data.instances import InstanceStore, write_instances
from histoweak.data.manifest import Manifest
from histoweak.errors import ConfigError
from histoweak.nets.instances import InstanceNetConfig
from histoweak.pipeline import StageContext
from histoweak.stages import instance_classifier
from histoweak.stages.bags import bags_of
from histoweak.stages.cmil import BagConfig, Bags, CmilConfig, cmil_stage
from histoweak.stages.instance_classifier import InstanceClassifierConfig, instance_classifier_stage
from histoweak.training.config import RuntimeConfig
from tests.data.test_crops import frame, write_store

SIDE = 16
CPU = RuntimeConfig(accelerator="cpu", devices=1)
STILL = AugmentConfig(flips=False, rotations=False, scale=0, stain=0, stain_shift=0)


class Stub(nn.Module):
    """Logits that are a linear function of the mean colour of an instance."""

    side = SIDE

    def __init__(self, config=InstanceNetConfig(), n_classes=2) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.negative, self.answering = config.negative, config.answering(n_classes)
        self.head, self.seen = nn.Linear(3, n_classes), 0
        with torch.no_grad():
            self.head.weight *= 20
            self.head.bias.copy_(-self.head.weight.sum(1) * 0.5)

    def classify(self, instances):
        self.seen += len(instances)
        return self.head(instances.mean((2, 3)))


def picture(height, width, seed=0):
    """Squares of 16 px, each of one colour; a third of them is white."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(40, 180, (height // SIDE, width // SIDE, 3)).astype(np.uint8)
    colours[rng.random(colours.shape[:2]) < 0.3] = 250
    return colours.repeat(SIDE, 0).repeat(SIDE, 1)


def squares_of(image, box, blank):
    """Colours (n, 3) in [0, 1] of the whole squares in a box, row after row, and which count."""
    x0, y0, x1, y1 = (int(v) for v in box)
    found = image[y0:y1:SIDE, x0:x1:SIDE].reshape(-1, 3)
    return torch.from_numpy(found / 255).float(), (found.mean(1) < 220) | (blank == 1)


def loss_by_loop(network, windows, criterion, weights, share=0.0, certain=0.0, blank=0.7):
    """The loss of windows (image, box, label): terms of answers, and of what is certain."""
    terms, told, negative = [], [], network.negative
    for image, box, label in windows:
        colours, dark = squares_of(image, box, blank)
        if not dark.any():
            continue
        named = [1 if k == negative else v for k, v in enumerate(label)]
        picked = set()
        for rank, k in enumerate(network.answering):
            logits = network.head(colours)[:, k].detach()
            least = criterion == "max-min" and named[k]
            order = sorted(np.flatnonzero(dark), key=lambda i: float(logits[i]), reverse=not least)
            for i in order[: max(1, int(np.ceil(share * dark.sum())))]:
                picked.add(int(i))
                p = network.head(colours)[i, k].sigmoid()
                terms.append(-weights[rank] * torch.log(p if named[k] else 1 - p))
        for i in picked:
            for k in network.answering:
                p = network.head(colours)[i, k].sigmoid()
                if not named[k]:
                    told.append(-torch.log(1 - p))
                elif sum(named) == 1:
                    told.append(-torch.log(p))
    loss = sum(terms) / len(terms)
    return loss + certain * sum(told) / len(told) if told and certain else loss


def batch_of(images, boxes, labels):
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    count = len(images)
    return Batch(
        pixels, torch.tensor(boxes), torch.tensor(labels), None, torch.zeros(count, 6),
        ("",) * count, 0,
    )  # fmt: skip


@pytest.mark.parametrize("criterion", ["max-max", "max-min"])
@pytest.mark.parametrize("weights", [None, (0.5, 1.5)])
@pytest.mark.parametrize(("share", "certain"), [(0.0, 0.0), (0.3, 0.7)])
@pytest.mark.parametrize("negative", [None, 0])
@pytest.mark.parametrize("blank", [0.7, 1.0])
def test_the_loss_of_bags_is_that_of_a_loop(criterion, weights, share, certain, negative, blank):
    """A patch beside a bag of a quarter of its size, a blank one, one of one class."""
    if negative is not None and weights:
        weights = weights[1:]
    images = [picture(64, 64), picture(64, 64, seed=1), np.full((64, 64, 3), 250, np.uint8)]
    boxes = [[0.0, 0, 0, 64, 64], [0, 32, 16, 64, 48], [2, 0, 0, 64, 64], [1, 0, 0, 64, 64]]
    labels = [[1.0, 1], [0, 1], [1, 0], [1, 0]]
    network = Stub(InstanceNetConfig(negative=negative))
    batch = batch_of(images, boxes, labels)
    config = BagConfig(shift=False, share=share, certain=certain, blank=blank)
    seen = batch.images.float() / 255
    given = None if weights is None else torch.tensor(weights)
    found = Bags(config, SIDE).loss(network, seen, batch, criterion, given)
    windows = [(images[int(b[0])], b[1:], y) for b, y in zip(boxes, labels, strict=True)]
    own = weights or (1.0,) * len(network.answering)
    expected = loss_by_loop(network, windows, criterion, own, share, certain, blank)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_bags_without_tissue_teach_nothing():
    network, white = Stub(), np.full((32, 32, 3), 250, np.uint8)
    batch = batch_of([white], [[0.0, 0, 0, 32, 32]], [[1.0, 0]])
    loss = Bags(BagConfig(), SIDE).loss(network, batch.images / 255, batch, "max-max", None)
    loss.backward()
    assert loss.item() == 0 and network.seen == 0
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters())


BOXES = [(0, 0, 32, 32), (32, 0, 64, 32), (0, 32, 32, 64), (32, 32, 64, 64)]
LABELS = [(1, 0), (1, 0), (1, 1), (0, 1)]


@pytest.mark.parametrize(("weighted", "weights"), [(False, (1.0, 1.0)), (True, (0.8, 1.2))])
def test_retraining_adds_the_image_level_loss_of_patches(tmp_path, monkeypatch, weighted, weights):
    """Weights follow the labels of patches (3 and 2 of 4), not those of the kept instances."""
    image = picture(64, 64, seed=3)
    write_store(tmp_path / "frames", [frame(BOXES, 64, 64, labels=LABELS)], [image])
    # No kept instance holds the second class.
    write_instances(
        tmp_path / "instances.json", [np.array([[0.0, 0, 16, 16]])], [np.array([[1, -1]])]
    )
    caught = []
    monkeypatch.setattr(instance_classifier, "InstanceNet", Stub)
    monkeypatch.setattr(instance_classifier, "TissueModel", lambda *args: None)
    monkeypatch.setattr(instance_classifier, "keep_model", lambda *args: None)
    monkeypatch.setattr(instance_classifier, "fit", lambda *args, **kw: caught.append(args))
    config = InstanceClassifierConfig(
        image_level=0.3, bag_batch=2, augment=STILL, weighted=weighted
    )
    net, bags = InstanceNetConfig(side=SIDE, strides=(16,)), BagConfig(crop=64, shift=False)
    inputs = {"frames": tmp_path / "frames", "instances": tmp_path}
    context = StageContext(tmp_path, inputs, 0, Manifest(ClassSet(("a", "b")), ()))
    instance_classifier_stage(config, net, bags, CPU).run(context)
    network, objective, dataset, *_ = caught[0]
    crop = dataset[0, 0]
    box = torch.nn.functional.pad(crop.boxes, (1, 0))
    batch = dataclasses.replace(
        batch_of([np.zeros((32, 32, 3), np.uint8)], box.tolist(), crop.labels.tolist()),
        images=crop.image[None],
    )
    losses = objective(network, crop.image[None] / 255, batch)
    windows = [(image, b, y) for b, y in zip(BOXES, LABELS, strict=True)]
    level = loss_by_loop(network, windows, "max-max", weights)
    colour = torch.from_numpy(image[0, 0] / 255).float()
    own = F.softplus(-network.head(colour)[0])
    torch.testing.assert_close(losses["images"], level, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(losses["loss"], own + 0.3 * level, rtol=1e-2, atol=1e-3)


def test_an_instance_larger_than_the_patches_is_refused(tmp_path):
    write_store(tmp_path / "frames", [frame(BOXES, 64, 64, labels=LABELS)], [picture(64, 64)])
    context = StageContext(
        tmp_path, {"frames": tmp_path / "frames"}, 0, Manifest(ClassSet(("a", "b")), ())
    )
    config = CmilConfig(net=InstanceNetConfig(side=48, strides=(16,)))
    with pytest.raises(ConfigError, match=r"cmil\.net\.side = 48 with patches of 32 pixels"):
        cmil_stage(config, CPU, "max-max").run(context)


@pytest.mark.parametrize("negative", [None, 0])
def test_coarse_instances_that_are_sure_of_a_class_become_bags(tmp_path, negative):
    """A patch of 128 px, bright above and dark below, of which coarse instances are 64 px."""
    image = np.full((128, 128, 3), 60, np.uint8)
    image[:64, 64:] = 200

    class Bright(Stub):
        side = 64

        def classify(self, instances):
            sure = (instances.mean((1, 2, 3)) - 0.5) * 20
            return torch.stack([-sure, sure], 1)

    network = Bright(InstanceNetConfig(negative=negative))
    described = frame([(0, 0, 128, 128)], 128, 128, labels=[(0, 1)])
    squares, known = bags_of(network, image, described, 0.5, torch.device("cpu"))
    corners = [[0.0, 0, 64, 64], [64, 0, 128, 64], [0, 64, 64, 128], [64, 64, 128, 128]]
    if negative is None:  # dark ones hold a class that the label does not name
        assert squares.tolist() == corners[1:2] and known.tolist() == [[0, 1]]
    else:
        assert squares.tolist() == corners
        assert known.tolist() == [[1, 0], [0, 1], [1, 0], [1, 0]]
    # In the next round each of them holds 2 x 2 finer ones, the patch 4 x 4.
    write_store(tmp_path, [described], [image])
    boxes = np.concatenate([np.array(described.boxes), squares])
    labels = np.concatenate([np.array(described.labels), known])
    write_instances(tmp_path / "instances.json", [boxes], [labels])
    store = InstanceStore(tmp_path, tmp_path / "instances.json")
    windows = torch.tensor([(0.0, *box) for box in store.frames[0].boxes])
    _, real = Bags(BagConfig(shift=False), 32).squares(windows)
    assert real.sum(1).tolist() == [16] + [4] * len(squares)
    assert json.loads((tmp_path / "instances.json").read_text())[0]["labels"][0] == [0, 1]
