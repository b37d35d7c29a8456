"""Insertion and deletion: does the classifier's answer rest on the evidence? Needs no masks.

Source: Petsiuk et al., "RISE" (BMVC 2018). Deletion replaces pixels from the
strongest evidence down; the faster the probability falls, the smaller its area. Insertion puts
them back into a blurred image; the faster it rises, the larger. The paper deletes to black; here
white is the default, since glass without tissue is white and black is no tissue of any kind.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Classifier = Callable[["Tensor"], "Tensor"]
"""Takes images (B, 3, H, W) in 0..1 and returns probabilities (B, K)."""


def deletion_curve(
    classify: Classifier,
    image: "Tensor",
    evidence: "Tensor",
    class_index: int,
    *,
    steps: int = 20,
    baseline: "Tensor | None" = None,
    batch_size: int = 32,
) -> "Tensor":
    """Probability of a class while the strongest evidence is replaced step by step.

    Args:
        classify: the classifier, in evaluation mode.
        image: (3, H, W) in 0..1.
        evidence: (H, W); equally strong pixels go in reading order.
        class_index: the class whose probability is followed.
        steps: S; each step replaces a share 1/S of the pixels.
        baseline: (3, H, W) or broadcastable, what pixels are replaced with; white by default.
        batch_size: images classified at once.

    Returns:
        (S+1,) probabilities with the shares 0, 1/S, ..., 1 replaced.

    Raises:
        ValueError: shapes do not fit or `steps` < 1.
    """
    import torch

    white = torch.ones_like(image) if baseline is None else baseline.expand_as(image)
    return _curve(classify, image, white, evidence, class_index, steps, batch_size)


def insertion_curve(
    classify: Classifier,
    image: "Tensor",
    evidence: "Tensor",
    class_index: int,
    *,
    steps: int = 20,
    baseline: "Tensor | None" = None,
    batch_size: int = 32,
) -> "Tensor":
    """Probability of a class while the strongest evidence is put into a blurred image.

    Arguments, result and errors are those of `deletion_curve`, except that `baseline` is what the
    image starts from; by default the image blurred (Gaussian, 11 pixels, sigma 5, as published).
    """
    if baseline is None:
        from torchvision.transforms.v2.functional import gaussian_blur

        baseline = gaussian_blur(image, [11, 11], [5.0, 5.0])
    start = baseline.expand_as(image)
    return _curve(classify, start, image, evidence, class_index, steps, batch_size)


def area_under(curve: "Tensor") -> float:
    """Area under an insertion or deletion curve, by the trapezoidal rule, 0..1.

    Example:
        >>> import torch
        >>> area_under(torch.tensor([1.0, 0.5, 0.0]))
        0.5
    """
    import torch

    return float(torch.trapezoid(curve.double(), dx=1 / (len(curve) - 1)))


def evidence_drop(
    classify: Classifier,
    image: "Tensor",
    evidence: "Tensor",
    class_index: int,
    *,
    share: float = 0.2,
    baseline: "Tensor | None" = None,
) -> float:
    """Fall of a class's probability when the strongest `share` of pixels is replaced, -1..1.

    Arguments as for `deletion_curve`.

    Raises:
        ValueError: shapes do not fit, or `share` does not lie in 0..1.
    """
    import torch

    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, expected 0 to 1")
    white = torch.ones_like(image) if baseline is None else baseline.expand_as(image)
    order = _ranks(image, evidence)
    replaced = torch.where(order < share * order.numel(), white, image)
    with torch.no_grad():
        before, after = classify(torch.stack([image, replaced]))[:, class_index].tolist()
    return float(before - after)


def _curve(
    classify: Classifier,
    before: "Tensor",
    after: "Tensor",
    evidence: "Tensor",
    class_index: int,
    steps: int,
    batch_size: int,
) -> "Tensor":
    import torch

    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    ranks = _ranks(before, evidence)
    probs = []
    with torch.no_grad():
        for start in range(0, steps + 1, batch_size):
            step = torch.arange(start, min(start + batch_size, steps + 1), device=ranks.device)
            changed = ranks * steps < step[:, None, None, None] * ranks.numel()
            probs.append(classify(torch.where(changed, after, before))[:, class_index])
    return torch.cat(probs)


def _ranks(image: "Tensor", evidence: "Tensor") -> "Tensor":
    """(H, W) position of each pixel in the order of falling evidence, from 0."""
    if image.ndim != 3 or image.shape[1:] != evidence.shape:
        raise ValueError(
            f"image has shape {tuple(image.shape)} and evidence {tuple(evidence.shape)}, "
            "expected (3, H, W) and (H, W)"
        )
    order = evidence.reshape(-1).argsort(descending=True, stable=True)
    return order.argsort().reshape(evidence.shape)
