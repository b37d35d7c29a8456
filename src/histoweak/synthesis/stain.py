"""Bring cells of several patients to one stain.

Two patches of different patients differ in tissue and in stain. What is common to all patches of a
patient, whatever their class, is taken to be the stain: an additive model of the logarithm of the
mean optical density, log d = class + patient, per colour channel. Optical density is linear in the
amount of stain (Ruifrok & Johnston 2001), so that a change of the patient's part is a power of the
transmitted light.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

PRIOR = 4.0
"""Patches without any effect that every patient is credited with: few patches prove little."""

WHITE = 0.12
"""Mean optical density of the three channels up to which a pixel is glass and says nothing."""

MOST = 0.5
"""Largest effect: stains between 0.6 and 1.65 times as strong as usual; beyond lies an artefact."""

STRIDE = 4
"""Every fourth pixel along both sides is enough for a mean."""

CHUNK = 256


def stain_effects(
    images: Tensor, rows: Tensor, classes: Tensor, patients: Sequence[str], n_classes: int
) -> Tensor:
    """Part of the patient in the logarithm of the mean optical density.

    Args:
        images: (N, 3, S, S) uint8.
        rows: (M,) int64, the patches in question.
        classes: (M,) int64.
        patients: M names.
        n_classes: K.

    Returns:
        (M, 3) float32, equal for all patches of a patient.
    """
    # Thinned out before rows are taken: only what is looked at is copied.
    thin = images[:, :, ::STRIDE, ::STRIDE]
    parts = [_log_density(thin[some]) for some in torch.split(rows, CHUNK)]
    logs, tissue = (torch.cat(values) for values in zip(*parts, strict=True))
    names = {name: i for i, name in enumerate(dict.fromkeys(patients))}
    owner = torch.tensor([names[name] for name in patients], device=images.device)
    rest = logs - _means(logs, tissue, classes, n_classes, 0.0)[classes]
    effects = _means(rest, tissue, owner, len(names), PRIOR)[owner]
    return effects.clamp(-MOST, MOST).float()


def _log_density(images: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of the mean density of tissue, (B, 3), and the share of tissue, (B,); float64."""
    light = images.double()
    density = -((light + 1) / 256).log()
    tissue = (density.mean(dim=1, keepdim=True) > WHITE).double()
    share = tissue.mean(dim=(1, 2, 3))
    mean = (density * tissue).mean(dim=(2, 3)) / share.clamp(min=1e-6)[:, None]
    return mean.clamp(min=1e-2).log(), share


def _means(values: Tensor, weights: Tensor, groups: Tensor, n_groups: int, prior: float) -> Tensor:
    """(n_groups, C) weighted mean of each group, with `prior` more weight on 0."""
    sums = values.new_zeros(n_groups, values.shape[1])
    sums.index_add_(0, groups, values * weights[:, None])
    total = values.new_zeros(n_groups).index_add_(0, groups, weights) + prior
    return sums / total.clamp(min=1e-6)[:, None]


def exponents(effects: Tensor, rows: Tensor, target: Tensor, strength: float) -> Tensor:
    """Powers of light that bring patches to the stain of another one.

    Args:
        effects: (N, 3) from `stain_effects`.
        rows: (B, C) patches of B images.
        target: (B,) patch whose stain each image takes.
        strength: 0 (change nothing) to 1.

    Returns:
        (B, C, 3) float32.
    """
    return (strength * (effects[target][:, None] - effects[rows])).exp()


def apply_exponents(images: Tensor, powers: Tensor) -> Tensor:
    """Raise light (B, 3, H, W) in 0..255 to powers (B, 3, H, W) or broadcastable, in place."""
    return images.div_(255).pow_(powers).mul_(255)
