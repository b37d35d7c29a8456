"""The step of HisynSeg on a network whose outputs are known, and through training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histoweak.data.crops import AugmentConfig, Batch, CropDataset
from histoweak.data.manifest import Manifest
from histoweak.nets.cam_segmenter import CamSegmenter
from histoweak.nets.segmenters import SegmenterNetConfig
from histoweak.objectives.consistency import Stop
from histoweak.pipeline import StageContext
from histoweak.stages.two_batches import LossConfig, TwoBatches
from histoweak.synthesis.both import Kind
from histoweak.synthesis.config import SynthesisConfig
from histoweak.synthesis.online import OnlineSynthesis, Synthetic
from histoweak.training.config import FitConfig, RuntimeConfig
from histoweak.training.fit import fit
from tests.data.test_crops import frame, write_store
from tests.synthesis.fake import plain_cache

STILL = AugmentConfig(flips=False, rotations=False, scale=0, stain=0, stain_shift=0)
PUBLISHED = LossConfig(cross_entropy=0, absent="zero", labels_rule=False, joint=False)


class Known(nn.Module):
    """Logits and CAM from the grey of each pixel; keeps what it was given, and the true masks."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([3.0, -2.0, 1.0])[:, None, None])
        self.head = nn.Parameter(torch.tensor([-3.0, 2.0, -1.0])[:, None, None])
        self.given: list[Tensor] = []
        self.made: Synthetic
        self.masks: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.given.append(images)
        grey = images.mean(dim=1, keepdim=True)
        return self.slope * grey, self.head * F.avg_pool2d(grey, 16)


class Recorded(OnlineSynthesis):
    """Keeps what it has made."""

    def __call__(self, *args: Any) -> Synthetic:
        self.made = [super().__call__(*args)]
        return self.made[0]


def batch(
    labels: list[list[float]], boxes: list[list[float]], masks: Tensor | None = None
) -> Batch:
    images = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(5))
    return Batch(
        images=images.to(torch.uint8), boxes=torch.tensor(boxes), labels=torch.tensor(labels),
        masks=masks, stain=torch.zeros(2, 6), names=("a", "b"), step=0,
    )  # fmt: skip


WHOLE = [[0.0, 0, 0, 32, 32], [1.0, 0, 0, 32, 32]]
LABELS = [[1.0, 1, 0], [0.0, 1, 1]]


def step(
    config: LossConfig,
    given: Batch,
    share: float = 1.0,
    augment: AugmentConfig = STILL,
    judges: dict[Kind, nn.Module] | None = None,
) -> tuple[dict[str, Tensor], Known]:
    torch.manual_seed(0)
    network = Known()
    synthesis = Recorded(plain_cache((3, 4, 5)), 32, SynthesisConfig(), judges=judges)
    losses = TwoBatches(config, synthesis, share, augment)(network, given.images / 255, given)
    network.made, network.masks = synthesis.made[0], synthesis.made[0].masks
    return losses, network


def test_the_total_is_that_of_the_paper() -> None:
    """w1 L_cls(syn) + w2 L_seg + w1 L_cls(real) + w3 L_reg, in the published forms."""
    weights = {"classification": 0.7, "segmentation": 1.3, "consistency": 0.4}
    given = batch(LABELS, WHOLE)
    losses, network = step(PUBLISHED.model_copy(update=weights), given)
    synthetic, real = network.given
    masks = network.masks
    y_synthetic = torch.stack([(masks == k).flatten(1).any(1) for k in range(3)], 1).float()
    logits, cam = network(synthetic)
    dice = []
    for k in range(3):
        p, t = logits.softmax(1)[:, k], (masks == k).float()
        dice.append(1 - 2 * (p * t).sum() / (p + t).sum())
    real_logits, real_cam = network(real)
    small = F.interpolate(real_logits, (2, 2), mode="bilinear", align_corners=False)
    bce = F.binary_cross_entropy_with_logits
    expected = (
        0.7 * bce(cam.mean((2, 3)), y_synthetic)
        + 1.3 * torch.stack(dice).mean()
        + 0.7 * bce(real_cam.mean((2, 3)), given.labels)
        + 0.4 * (small.softmax(1) - real_cam.softmax(1)).abs().mean()
    )
    torch.testing.assert_close(losses["loss"], expected)
    parts = [value for name, value in losses.items() if name != "loss"]
    assert len(parts) == 4
    torch.testing.assert_close(losses["loss"], torch.stack(parts).sum())


def test_one_pass_or_two_are_the_same_without_batch_statistics() -> None:
    given = batch(LABELS, WHOLE)
    apart, two = step(PUBLISHED, given)
    together, one = step(PUBLISHED.model_copy(update={"joint": True}), given)
    assert len(two.given) == 2 and len(one.given) == 1
    for name in apart:
        torch.testing.assert_close(apart[name], together[name])


def test_windows_within_a_crop_are_pooled_one_by_one() -> None:
    boxes = [[0.0, 0, 0, 16, 32], [0.0, 16, 0, 32, 32], [1.0, 0, 16, 16, 32]]
    labels = [[1.0, 0, 0], [0.0, 1, 0], [1.0, 1, 1]]
    losses, network = step(PUBLISHED, batch(labels, boxes))
    _, cam = network(network.given[1])
    pooled = torch.stack([cam[0, :, :, 0].mean(1), cam[0, :, :, 1].mean(1), cam[1, :, 1, 0]])
    expected = F.binary_cross_entropy_with_logits(pooled, torch.tensor(labels))
    torch.testing.assert_close(losses["classification_real"], expected)


def test_consistency_can_be_switched_off_and_labels_speak_of_pixels() -> None:
    losses, _ = step(LossConfig(consistency=0), batch(LABELS, WHOLE))
    assert "consistency" not in losses
    config = LossConfig(absent_evidence=0.5, present_evidence=0.25)
    losses, network = step(config, batch(LABELS, WHOLE))
    logits, _ = network(network.given[0][:2])
    grid = [F.adaptive_avg_pool2d(logits, 14).softmax(1)[i, k] for i, k in ((0, 2), (1, 0))]
    # Sampled bilinearly rather than averaged: about the same.
    expected = -0.5 * torch.stack([(1 - g).log().mean() for g in grid]).mean()
    torch.testing.assert_close(losses["absent"], expected, atol=0.05, rtol=0)
    assert losses["present"] > 0


def test_masks_of_an_earlier_round_leave_the_labels_as_they_are() -> None:
    """Unsure pixels of a mask would say that classes are absent which the label names."""
    masks = torch.full((2, 32, 32), 255, dtype=torch.uint8)
    masks[0, :16], masks[1, :, 8:] = 1, 2
    losses, network = step(PUBLISHED, batch(LABELS, WHOLE, masks))
    assert "consistency" not in losses
    logits, cam = network(network.given[1])
    expected = F.binary_cross_entropy_with_logits(cam.mean((2, 3)), torch.tensor(LABELS))
    torch.testing.assert_close(losses["classification_real"], expected)
    dice = dice_by_class(logits, masks)
    # Class 0 has no pixel: it adds nothing and divides, as published.
    torch.testing.assert_close(losses["segmentation_real"], (dice[1] + dice[2]) / 3)
    assert losses["segmentation_real"].requires_grad


def test_cross_entropy_speaks_of_every_known_pixel() -> None:
    masks = torch.full((2, 32, 32), 255, dtype=torch.uint8)
    masks[0, :16], masks[1, :, 8:] = 1, 2
    config = PUBLISHED.model_copy(update={"segmentation": 0.0, "cross_entropy": 0.6})
    losses, network = step(config, batch(LABELS, WHOLE, masks), share=2.0)
    (made, _), (real, _) = (network(images) for images in network.given[:2])
    expected = 0.6 * F.cross_entropy(made, network.masks.long(), ignore_index=255)
    torch.testing.assert_close(losses["segmentation"], expected)
    expected = 0.6 * F.cross_entropy(real, masks.long(), ignore_index=255)
    torch.testing.assert_close(losses["segmentation_real"], expected)


def dice_by_class(logits: Tensor, masks: Tensor) -> list[Tensor]:
    found = []
    for k in range(3):
        known = masks != 255
        p, t = logits.softmax(1)[:, k] * known, (masks == k) * known
        found.append(1 - 2 * (p * (masks == k)).sum() / (p + t).sum())
    return found


class Bright(nn.Module):
    """Takes bright images for real."""

    def forward(self, images: Tensor) -> Tensor:
        real = 200 * (images.mean((1, 2, 3)) - 0.24)
        return torch.stack([torch.zeros_like(real), real], dim=1)


def test_the_filter_chooses_the_images_and_its_figures_take_no_part_in_the_loss() -> None:
    judges: dict[Kind, nn.Module] = {"mosaic": Bright(), "bezier": Bright()}
    losses, network = step(PUBLISHED, batch(LABELS, WHOLE), share=8.0, judges=judges)
    _, plain = step(PUBLISHED, batch(LABELS, WHOLE), share=8.0)
    taken, free = (Bright()(images.given[0]).softmax(1)[:, 1].mean() for images in (network, plain))
    assert taken > free + 0.1
    logits, _ = network(network.given[0])
    dice = dice_by_class(logits, network.masks)
    torch.testing.assert_close(losses["segmentation"], torch.stack(dice).mean())
    assert 0 < losses["accepted_mosaic"] < 1
    parts = ("classification_synthetic", "segmentation", "classification_real", "consistency")
    torch.testing.assert_close(losses["loss"], sum(losses[name] for name in parts))


def test_stains_of_synthetic_images_vary_as_those_of_real_crops_do() -> None:
    given = batch(LABELS, WHOLE)
    _, still = step(PUBLISHED, given, share=4.0)
    torch.testing.assert_close(still.given[0], still.made.images / 255, atol=1e-3, rtol=0)
    for change in ({"stain": 0.3}, {"stain_shift": 0.1}):
        _, varied = step(PUBLISHED, given, 4.0, STILL.model_copy(update=change))
        assert torch.equal(varied.given[1], given.images / 255)
        shifts = (varied.given[0] - varied.made.images / 255).mean((2, 3))
        assert (shifts.abs().amax(1) > 1e-3).all() and shifts.abs().max() < 0.4
        assert shifts.std(0).min() > 1e-3  # each image in its own way


@pytest.mark.parametrize("rule", [False, True])
@pytest.mark.parametrize(
    ("stop", "learn"), [("none", "both"), ("cam", "slope"), ("decoder", "head")]
)
def test_agreement_follows_its_settings(rule: bool, stop: Stop, learn: str) -> None:
    config = LossConfig(labels_rule=rule, stop=stop, joint=False)
    given = batch(LABELS, WHOLE)
    losses, network = step(config, given)
    losses["consistency"].backward(retain_graph=True)
    moved = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert moved == ({"slope", "head"} if learn == "both" else {learn})
    logits, cam = network(network.given[1])
    small = F.interpolate(logits, (2, 2), mode="bilinear", align_corners=False)
    allowed = given.labels[:, :, None, None] if rule else torch.ones(2, 3, 1, 1)
    shares = [allowed * m.exp() / (allowed * m.exp()).sum(1, keepdim=True) for m in (small, cam)]
    torch.testing.assert_close(losses["consistency"], (shares[0] - shares[1]).abs().mean())


def test_a_single_crop_is_a_batch() -> None:
    """The released code squeezes the class axis away when there is one image."""
    one = batch(LABELS[:1], WHOLE[:1])
    one = Batch(one.images[:1], one.boxes, one.labels, None, one.stain[:1], ("a",), 0)
    losses, _ = step(LossConfig(), one)
    assert losses["loss"].isfinite()


@pytest.mark.parametrize(("share", "count"), [(0.4, 1), (1.0, 2), (3.0, 6)])
def test_synthetic_images_per_real_crop(share, count) -> None:
    _, network = step(PUBLISHED, batch(LABELS, WHOLE), share)
    assert [len(images) for images in network.given] == [count, 2]


def test_a_killed_training_ends_in_the_same_weights(phantom: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    boxes, labels = [[0, 0, 48, 64], [20, 0, 64, 64]], [(1, 1, 0), (0, 1, 1)]
    store = write_store(tmp_path / "frames", [frame(boxes, labels=labels)], [image])
    dataset = CropDataset(store, size=64, augment=AugmentConfig(), seed=0, n_classes=3)

    def train(out: Path, dies_at: int | None = None) -> dict[str, Tensor]:
        out.mkdir(exist_ok=True)
        torch.manual_seed(0)
        network = CamSegmenter(SegmenterNetConfig(encoder="tu-test_resnet", decoder_channels=16), 3)
        synthesis = OnlineSynthesis(plain_cache((3, 4, 5)), 64, SynthesisConfig())
        losses = TwoBatches(LossConfig(), synthesis, 1.0, AugmentConfig())

        def objective(network: nn.Module, images: Tensor, batch: Batch) -> dict[str, Tensor]:
            if batch.step == dies_at:
                raise KeyboardInterrupt
            return losses(network, images, batch)

        trained = fit(
            network, objective, dataset, FitConfig(steps=6, batch=2, chunk=2),
            RuntimeConfig(accelerator="cpu", devices=1),
            StageContext(out, {}, 0, Manifest.read(phantom)), description="training",
        )  # fmt: skip
        return trained.state_dict()

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", dies_at=3)
    resumed, whole = train(tmp_path / "killed"), train(tmp_path / "whole")
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name
