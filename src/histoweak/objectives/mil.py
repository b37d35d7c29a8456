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


@dataclass(frozen=True)
class Picks:
    """The instances that answer for the labels.

    `index` (B, K, m), first choice first; `valid` (B, K, m) bool: an image of fewer than m such
    instances fills up with others, which do not count.
    """

    index: Tensor
    valid: Tensor


def choose(
    probs: Tensor, labels: Tensor, valid: Tensor, criterion: Criterion, share: float = 0.0
) -> Picks:
    """Choose the instances that answer for each label.

    An absent class is answered for by the instance that looks most like it, the hardest negative.
    A present class by the instance that looks most like it (`max-max`) or least (`max-min`).
    With `share` r > 0 the ceil(r v) of v valid instances that come first answer together, as a
    lower bound on the share of a present class asks for (CAMEL2, arXiv 2310.05394).

    Args:
        probs: (B, n, K) probabilities of the n instances of B images.
        labels: (B, K) 0 or 1.
        valid: (B, n) bool, instances that may be chosen; blank glass is none. Nothing answers for
            an image without any.
        criterion: how present classes choose.
        share: r in [0, 1].

    Returns:
        Picks of m instances, the largest max(1, ceil(r v)) of all images.
    """
    # Less what rounding adds: 0.07 * 100 is a little more than 7.
    wanted = (share * valid.sum(dim=1).double() - 1e-9).ceil().clamp(min=1).long()
    number = int(wanted.max()) if len(wanted) else 1
    liking = probs.transpose(1, 2)
    if criterion == "max-min":
        liking = torch.where(labels[:, :, None] > 0, -liking, liking)
    best = liking.masked_fill(~valid[:, None, :], -torch.inf).topk(number, dim=2)
    asked = torch.arange(number, device=valid.device) < wanted[:, None]
    return Picks(best.indices, asked[:, None, :] & (best.values > -torch.inf))


@dataclass(frozen=True)
class Answers:
    """What a network says of the chosen instances.

    `own` (B, K, m) is the logit of class k of each instance that answers for it, 0 where the pick
    is not valid; `logits` (u, K) are all those of the u chosen instances, `image` (u,) the image
    that each lies in.
    """

    own: Tensor
    logits: Tensor
    image: Tensor


def answers(classify: Callable[[Tensor], Tensor], instances: Tensor, picks: Picks) -> Answers:
    """Logits of the chosen instances only, each computed once.

    The gradient equals that of computing all n instances and taking the chosen ones, if the
    network treats instances independently; the cost and the memory are those of the chosen ones.

    Args:
        classify: (u, 3, s, s) -> logits (u, K).
        instances: (B, n, 3, s, s).
        picks: from `choose`, at least one of them valid.
    """
    number = instances.shape[1]
    image, label, place = picks.valid.nonzero(as_tuple=True)
    chosen = image * number + picks.index[image, label, place]
    used, where = torch.unique(chosen, return_inverse=True)
    logits = classify(instances.flatten(0, 1)[used])
    own = logits.new_zeros(picks.index.shape)
    own = own.index_put((image, label, place), logits[where, label])
    return Answers(own, logits, used // number)


def naming(labels: Tensor, negative: int | None) -> Tensor:
    """Labels (N, K) that name the class which every image may hold, whatever they say of it.

    `negative` is its index, None for no such class.
    """
    if negative is None:
        return labels
    named = labels.clone()
    named[:, negative] = 1
    return named


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


def answer_loss(
    own: Tensor, labels: Tensor, valid: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Cross entropy of the labels with the logits of the instances that answer for them.

    Args:
        own: (B, K, m) from `answers`.
        labels: (B, K) 0 or 1.
        valid: (B, K, m) bool, those that count.
        weights: (K,) class weights, or None.

    Returns:
        Mean over images, classes and chosen instances that count; zero where none does.
    """
    targets = labels[:, :, None].expand_as(own).to(own)
    loss = F.binary_cross_entropy_with_logits(own, targets, reduction="none")
    if weights is not None:
        loss = loss * weights[None, :, None]
    return (loss * valid).sum() / valid.sum().clamp(min=1)


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
