"""Stage `authenticity-KIND`: train a network to tell real mixed patches from synthetic images."""

import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from histoweak.atomic import atomic_path, atomic_write_text
from histoweak.classes import ClassSet
from histoweak.config import StrictConfig
from histoweak.data.crops import AugmentConfig, Batch, CropDataset, is_mixed
from histoweak.data.frames import Frame, FrameStore
from histoweak.errors import ManifestError
from histoweak.nets.weights import load_into
from histoweak.pipeline import Stage, StageContext, is_leader
from histoweak.synthesis.authenticity import (
    Discriminator,
    DiscriminatorConfig,
    Maker,
    discriminator_loss,
    p_real,
)
from histoweak.synthesis.bezier import bezier
from histoweak.synthesis.cache import PatchCache, cut_patches
from histoweak.synthesis.config import SynthesisConfig
from histoweak.synthesis.draw import fresh_generator
from histoweak.synthesis.mosaic import mosaic
from histoweak.training.config import OptimConfig, RuntimeConfig, TrainConfig
from histoweak.training.fit import fit, seeded

Kind = Literal["mosaic", "bezier"]

WEIGHTS, FIGURES = "discriminator.safetensors", "authenticity.json"


class AuthenticityConfig(StrictConfig):
    """The discriminator.

    Its images are as large as those that it will judge, `segmenter.crop`. The share `held_out` of
    the patients is kept from training and judges it, on `judged` images of either kind;
    `keep_best` keeps the weights of the chunk that did best there, instead of the last ones; the
    accuracy that is reported then flatters them.
    """

    net: DiscriminatorConfig = DiscriminatorConfig()
    fit: TrainConfig = TrainConfig(steps=200, batch=32, optim=OptimConfig(schedule="constant"))
    held_out: float = Field(0.2, gt=0, lt=1)
    judged: int = Field(256, ge=1)
    keep_best: bool = False


class AuthenticitySetting(StrictConfig):
    """All that decides the artefact."""

    authenticity: AuthenticityConfig
    synthesis: SynthesisConfig
    kind: Kind
    size: int
    threshold: float


def authenticity_stage(
    config: AuthenticityConfig,
    synthesis: SynthesisConfig,
    runtime: RuntimeConfig,
    kind: Kind,
    *,
    size: int,
    threshold: float,
) -> Stage:
    """Make the stage; its artefact holds the weights and `authenticity.json`.

    Args:
        config: of the discriminator.
        synthesis: of the images that it learns to tell.
        runtime: device and processes.
        kind: which of the two kinds of images; each has a discriminator of its own.
        size: side of the images in pixels.
        threshold: P(real) from which on the acceptance counts an image as accepted.
    """
    setting = AuthenticitySetting(
        authenticity=config, synthesis=synthesis, kind=kind, size=size, threshold=threshold
    )
    run = partial(_run, setting, runtime)
    return Stage(f"authenticity-{kind}", setting, ("frames",), run, version=3, distributed=True)


def load_discriminator(folder: Path) -> Discriminator:
    """Load the network from an artefact of the stage, in eval mode.

    Raises:
        WeightsError: the artefact was damaged.
    """
    figures = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    network = Discriminator(DiscriminatorConfig(**figures["net"]))
    load_into(network, folder / WEIGHTS)
    return network.eval()


def _run(setting: AuthenticitySetting, runtime: RuntimeConfig, context: StageContext) -> None:
    config = setting.authenticity
    store = FrameStore(context.inputs["frames"])
    classes = context.manifest.classes
    trial = Trial(setting, store, classes, context.seed, context.scratch)
    seeded(context.seed, f"authenticity-{setting.kind}")
    trained = fit(
        Discriminator(config.net),
        trial.objective,
        trial.real(held_out=False),
        config.fit,
        runtime,
        context,
        description=f"training the discriminator of {setting.kind} images",
        select="val-label" if config.keep_best else "last",
        score=lambda candidate: trial.judge(candidate)["accuracy"],
    )
    if not is_leader():
        return  # only the first process writes in the artefact
    with atomic_path(context.out / WEIGHTS) as path:
        save_file(trained.state_dict(), path)
    figures = {"kind": setting.kind, "net": config.net.model_dump(), "size": setting.size}
    figures |= trial.judge(trained)
    atomic_write_text(context.out / FIGURES, json.dumps(figures, indent=2))


class Trial:
    """Real and synthetic images, those to learn from and those to judge by.

    Patients are divided, and synthetic images to judge by are made from patches of held-out
    patients. A part that lacks a class takes the patches of all patients instead; see `unseen`.
    Real images show frames at their own scale, and of a part only frames that hold a whole image,
    if there are any: the discriminator would look for nothing but the mirrored borders of others.

    Args:
        setting: of the stage.
        store: training frames.
        classes: of the data set.
        seed: of the run.
        folder: for patches that do not fit in memory.

    Raises:
        ManifestError: no patch has several classes, or a class has no patch to itself.
    """

    def __init__(
        self,
        setting: AuthenticitySetting,
        store: FrameStore,
        classes: ClassSet,
        seed: int,
        folder: Path,
    ) -> None:
        self.setting, self.store, self.n_classes, self.seed = setting, store, len(classes), seed
        self.size = setting.size
        self.judges = _held_out(store.frames, setting.authenticity.held_out, seed)
        whole = cut_patches(store, classes, setting.synthesis, folder)
        self.held = whole.of_patients(self.judges)
        self.seen = whole.of_patients(frozenset(whole.patients) - self.judges)
        needed = whole.counts > 0
        self.held, self.seen = (
            part if bool((part.counts[needed] > 0).all()) else whole
            for part in (self.held, self.seen)
        )

    @property
    def unseen(self) -> dict[str, bool]:
        """Whether images to judge by are of patients that none to learn from is of."""
        apart = not set(self.held.patients) & set(self.seen.patients)
        return {"real": bool(self.judges), "synthetic": apart}

    def real(self, held_out: bool) -> CropDataset:
        """Crops of patches with several classes."""
        mirrored = self.mirrored(held_out)

        def keep(frame: Frame, window: int) -> bool:
            fits = mirrored or self._is_whole(frame)
            return fits and self._is_of(frame, held_out) and is_mixed(frame, window)

        return CropDataset(
            self.store,
            size=self.size,
            augment=_turned(self.setting),
            seed=self.seed,
            n_classes=self.n_classes,
            keep=keep,
            pieces=True,
        )

    def mirrored(self, held_out: bool) -> bool:
        """Whether no frame with a patch of several classes holds a whole image."""
        return not any(
            is_mixed(frame, window)
            for frame in self.store.frames
            if self._is_of(frame, held_out) and self._is_whole(frame)
            for window in range(len(frame.boxes))
        )

    def _is_of(self, frame: Frame, held_out: bool) -> bool:
        # A lone patient is learnt from and judges.
        return not self.judges or (frame.patient in self.judges) == held_out

    def _is_whole(self, frame: Frame) -> bool:
        return min(frame.height, frame.width) >= self.size

    def objective(self, network: nn.Module, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Losses of one step: as many synthetic images as there are real ones."""
        if self.seen.device != images.device:
            self.seen = self.seen.to(images.device)
        synthetic, _ = self.maker(self.seen, fresh_generator())(len(images))
        return discriminator_loss(network, images, synthetic.to(images) / 255)

    def maker(self, cache: PatchCache, generator: torch.Generator) -> Maker:
        """Return the function that makes synthetic images of this kind."""
        config, size = self.setting.synthesis, self.size
        if self.setting.kind == "mosaic":
            return lambda n: mosaic(cache, n, size, config.mosaic, generator)
        return lambda n: bezier(cache, n, size, config.bezier, generator)

    def judge(self, network: nn.Module) -> dict[str, Any]:
        """Held-out `accuracy`, share of synthetic images that pass (`acceptance`), and counts.

        `acceptance` counts P(real) above `threshold`, the accuracy above one half. `unseen` says
        of real and of synthetic images whether they are of patients that were not learned from,
        `mirrored` of real images whether borders had to be filled with mirrored tissue.
        """
        n = self.setting.authenticity.judged
        steps = self.setting.authenticity.fit.steps
        crops, device = self.real(held_out=True), next(network.parameters()).device
        # Steps beyond training: other draws than any that was learnt from.
        real = torch.stack([crops[steps + i, 0].image for i in range(n)])
        generator = torch.Generator().manual_seed(self.seed)
        synthetic, _ = self.maker(self.held, generator)(n)
        taken = p_real(network, real.to(device)), p_real(network, synthetic.to(device))
        found, passed = (float((p > 0.5).float().mean()) for p in taken)
        threshold = self.setting.threshold
        return {
            "accuracy": (found + 1 - passed) / 2,
            "recognised": found,
            "acceptance": float((taken[1] > threshold).float().mean()),
            "threshold": threshold,
            "unseen": self.unseen,
            "mirrored": self.mirrored(False) or self.mirrored(True),
            "mean_p_real": float(taken[1].mean()),
            "judged": n,
            "held_out_patients": len(self.judges),
            "real_patches": sum(len(group) for group in crops.groups),
        }


def _turned(setting: AuthenticitySetting) -> AugmentConfig:
    """Turn and flip real patches where patches of synthetic images are.

    They are never resampled or stained: a difference that synthetic images do not share would be
    all that the network learns.
    """
    made = setting.synthesis.mosaic if setting.kind == "mosaic" else setting.synthesis.bezier
    return AugmentConfig(flips=made.turns, rotations=made.turns, scale=0, stain=0, stain_shift=0)


def _held_out(frames: tuple[Frame, ...], share: float, seed: int) -> frozenset[str]:
    """Patients that judge; none where only one has patches of several classes.

    Raises:
        ManifestError: no patch has several classes.
    """
    mixed = sorted({f.patient for f in frames if any(sum(label) > 1 for label in f.labels)})
    if not mixed:
        raise ManifestError(
            "no patch is labelled with several classes",
            expected="some, as real images that synthetic ones are compared with",
            remedy="Cut larger patches, or set authenticity=null and segmenter.real=all",
        )
    rng = np.random.default_rng(np.random.SeedSequence((seed, *b"authenticity")))
    count = min(len(mixed) - 1, max(1, round(share * len(mixed))))
    return frozenset(str(name) for name in rng.permutation(mixed)[:count])
