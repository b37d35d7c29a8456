"""The training step of HisynSeg: one batch of real patches with labels, one of synthetic images.

Fang et al. (IEEE TMI 2025), the total loss: w1 L_cls(synthetic) + w2 L_seg(synthetic)
+ w1 L_cls(real) + w3 L_reg(real).
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from histoweak.config import StrictConfig
from histoweak.data.crops import AugmentConfig, Batch
from histoweak.data.stain import jitter_stain
from histoweak.objectives.allowed import allowed_cells
from histoweak.objectives.classification import multilabel_loss
from histoweak.objectives.consistency import Stop, consistency_loss
from histoweak.objectives.dice import Absent, soft_dice_loss
from histoweak.objectives.evidence import (
    absent_evidence_loss,
    present_evidence_loss,
    window_cells,
)
from histoweak.objectives.pooling import box_mean
from histoweak.objectives.segmentation import pixel_loss
from histoweak.synthesis.draw import fresh_generator
from histoweak.synthesis.labels import classes_in
from histoweak.synthesis.online import OnlineSynthesis, Synthetic


class LossConfig(StrictConfig):
    """Weights and forms of the losses; a weight of 0 switches one off.

    `classification`, `segmentation` and `consistency` are w1, w2 and w3. `cross_entropy`, which is
    not in the paper, weighs the cross entropy of pixels beside their Dice. `absent` is what classes
    do that are absent from the batch (see `soft_dice_loss`); `stop` and `labels_rule` are the
    forms of the consistency: which side gets no gradient, and whether both sides leave out the
    classes that labels exclude. `joint` passes both batches through the network at once, so that
    batch normalisation sees what it will be used on. `absent_evidence` and `present_evidence`
    weigh two further losses of the decoder on real patches: a class that a label excludes is
    absent at every pixel, one that it names holds at least the share `present_share` of the patch.
    """

    classification: float = Field(1.0, ge=0)
    segmentation: float = Field(1.0, ge=0)
    consistency: float = Field(1.0, ge=0)
    cross_entropy: float = Field(1.0, ge=0)
    absent: Absent = "skip"
    stop: Stop = "none"
    labels_rule: bool = True
    joint: bool = True
    absent_evidence: float = Field(0.0, ge=0)
    present_evidence: float = Field(0.0, ge=0)
    present_share: float = Field(0.05, gt=0, le=1)


class TwoBatches:
    """Losses of one training step.

    The masks of an earlier round, where real patches come with them, take the place of the
    consistency. Which classes a patch holds is still said by its label: a mask leaves out what the
    earlier round was not sure of.

    Args:
        config: which losses.
        synthesis: makes the synthetic images.
        share: synthetic images per real crop.
        augment: how far the stain of synthetic images is varied.
    """

    def __init__(
        self, config: LossConfig, synthesis: OnlineSynthesis, share: float, augment: AugmentConfig
    ) -> None:
        self.config, self.synthesis, self.share, self.augment = config, synthesis, share, augment

    def __call__(self, network: nn.Module, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, its parts, and the figures of the filter."""
        generator = fresh_generator()
        n = max(1, round(self.share * len(images)))
        made = self.synthesis(n, generator, images.device)
        varied = self._varied(made.images, generator)
        if self.config.joint:
            logits, cam = network(torch.cat([images, varied]))
            split = len(images)
            real, synthetic = (logits[:split], cam[:split]), (logits[split:], cam[split:])
        else:
            synthetic, real = network(varied), network(images)
        losses = {**self._synthetic(*synthetic, made), **self._real(*real, images, batch)}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses, **made.figures}

    def _varied(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images in [0, 1] with stains varied as those of real crops are."""
        drawn = 2 * torch.rand(len(images), 6, generator=generator).to(images.device) - 1
        stain = [1 + self.augment.stain * drawn[:, :3], self.augment.stain_shift * drawn[:, 3:]]
        return jitter_stain(images.float() / 255, torch.cat(stain, dim=1))

    def _synthetic(self, logits: Tensor, cam: Tensor, made: Synthetic) -> dict[str, Tensor]:
        config = self.config
        labels = classes_in(made.masks, logits.shape[1])
        loss = multilabel_loss(cam.mean(dim=(2, 3)), labels)
        return {
            "classification_synthetic": config.classification * loss,
            "segmentation": self._pixels(logits, made.masks),
        }

    def _pixels(self, logits: Tensor, masks: Tensor) -> Tensor:
        """What the decoder is told of every pixel."""
        config = self.config
        loss = config.segmentation * soft_dice_loss(logits, masks, absent=config.absent)
        if config.cross_entropy > 0:
            loss = loss + config.cross_entropy * pixel_loss(logits, masks)
        return loss

    def _real(self, logits: Tensor, cam: Tensor, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        config, scale = self.config, cam.shape[-1] / images.shape[-1]
        pooled = box_mean(cam, batch.boxes, (scale, scale))
        losses = {
            "classification_real": config.classification * multilabel_loss(pooled, batch.labels)
        }
        if batch.masks is not None:
            return {**losses, "segmentation_real": self._pixels(logits, batch.masks)}
        if config.consistency > 0:
            size = (cam.shape[-2], cam.shape[-1])
            allowed = None
            if config.labels_rule:
                allowed = allowed_cells(batch.boxes, batch.labels, len(images), size, scale)
            agreement = consistency_loss(logits, cam, stop=config.stop, allowed=allowed)
            losses["consistency"] = config.consistency * agreement
        if config.absent_evidence > 0 or config.present_evidence > 0:
            cells = window_cells(logits, batch.boxes, 1.0)
            absent = absent_evidence_loss(cells, batch.labels)
            present = present_evidence_loss(cells, batch.labels, config.present_share)
            losses["absent"] = config.absent_evidence * absent
            losses["present"] = config.present_evidence * present
        return losses
