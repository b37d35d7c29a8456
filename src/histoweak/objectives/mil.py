"""Multiple instance learning: which instance of an image answers for its label.

Xu et al. (ICCV 2019), "CAMEL", section 3.1, for one label. With several classes each has its own
label and its own instance, one against the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Criterion = Literal["max-max", "max-min"]


def choose(
    probs: Tensor, labels: Tensor, valid: Tensor, criterion: Criterion, share: float = 0.0
) -> Tensor:
    """Choose the instances that answer for each label.

    An absent class is answered for by the instance that looks most like it, the hardest negative.
    A present class by the instance that looks most like it (`max-max`) or least (`max-min`).
    With `share` r > 0 the ceil(r n) instances that come first answer together, as a lower bound
    on the share of a present class asks for (CAMEL2, arXiv 2310.05394).

    Args:
        probs: (B, n, K) probabilities of the n instances of B images.
        labels: (B, K) 0 or 1.
        valid: (B, n) bool, instances that may be chosen; blank glass is none. Where no instance
            of an image is valid, all are.
        criterion: how present classes choose.
        share: r in [0, 1].

    Returns:
        (B, K, m) indices of instances, m = max(1, ceil(r n)), first choice first. Invalid
        instances are only chosen where there are fewer than m valid ones.
    """
    count = probs.shape[1]
    number = max(1, -int(-share * count // 1))
    usable = valid | ~valid.any(dim=1, keepdim=True)
    liking = probs.transpose(1, 2)
    if criterion == "max-min":
        liking = torch.where(labels[:, :, None] > 0, -liking, liking)
    liking = liking.masked_fill(~usable[:, None, :], -torch.inf)
    return liking.topk(number, dim=2).indices


@dataclass(frozen=True)
class Answers:
    """What a network says of the chosen instances.

    `own` (B, K, m) is the logit of class k of each instance that answers for it, `logits` (u, K)
    are all those of the u chosen instances, `image` (u,) the image that each lies in.
    """

    own: Tensor
    logits: Tensor
    image: Tensor


def answers(classify: Callable[[Tensor], Tensor], instances: Tensor, chosen: Tensor) -> Answers:
    """Logits of the chosen instances only, each computed once.

    The gradient equals that of computing all n instances and taking the chosen ones, if the
    network treats instances independently; the cost and the memory are those of the chosen ones.

    Args:
        classify: (u, 3, s, s) -> logits (u, K).
        instances: (B, n, 3, s, s).
        chosen: (B, K, m) from `choose`.
    """
    count, number, classes = instances.shape[0], instances.shape[1], chosen.shape[1]
    first = torch.arange(count, device=chosen.device)[:, None, None] * number
    used, where = torch.unique(first + chosen, return_inverse=True)
    logits = classify(instances.flatten(0, 1)[used])
    own = logits[where, torch.arange(classes, device=where.device)[None, :, None]]
    return Answers(own, logits, used // number)


def certain(labels: Tensor) -> Tensor:
    """What the label of an image says of every instance in it.

    None holds a class that the image lacks, and all hold the one class of an image that has but
    one.

    Args:
        labels: (B, K) 0 or 1.

    Returns:
        (B, K) 0, 1, or -1 where nothing is said.
    """
    alone = labels.sum(dim=1, keepdim=True) == 1
    return torch.where((labels > 0) & ~alone, -1.0, labels.float())


def answer_loss(own: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross entropy of the labels with the logits of the instances that answer for them.

    Args:
        own: (B, K, m) from `answers`.
        labels: (B, K) 0 or 1.
        weights: (K,) class weights, or None.

    Returns:
        Mean over images, classes and chosen instances.
    """
    targets = labels[:, :, None].expand_as(own).to(own)
    loss = F.binary_cross_entropy_with_logits(own, targets, reduction="none")
    if weights is not None:
        loss = loss * weights[None, :, None]
    return loss.mean()


def known_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy over the targets that are known.

    Args:
        logits: (n, K).
        targets: (n, K) 0, 1, or -1 where nothing is known.

    Returns:
        Mean over known targets; zero, with gradient, where there are none.
    """
    known = targets >= 0
    loss = F.binary_cross_entropy_with_logits(logits, targets.clamp(min=0), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)
