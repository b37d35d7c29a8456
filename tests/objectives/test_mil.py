import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from histoweak.objectives.mil import (
    Picks,
    answer_loss,
    answers,
    certain,
    choose,
    known_loss,
    naming,
)


def chosen_by_loop(probs, labels, valid, criterion, share):
    """(B, K) lists of the chosen instances, by sorting a list."""
    found = []
    for p, y, v in zip(probs, labels, valid, strict=True):
        usable = [i for i in range(len(v)) if v[i]]
        number = max(1, math.ceil(Fraction(str(share)) * len(usable)))
        row = []
        for k in range(p.shape[1]):
            least = criterion == "max-min" and y[k] > 0
            order = sorted(usable, key=lambda i: float(p[i, k]), reverse=not least)
            row.append(order[:number])
        found.append(row)
    return found


@pytest.mark.parametrize("criterion", ["max-max", "max-min"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.34, 0.5, 1.0])
def test_choice_is_that_of_a_sorted_list(criterion, share):
    torch.manual_seed(0)
    probs, labels = torch.rand(6, 9, 3), torch.randint(2, (6, 3)).float()
    valid = torch.rand(6, 9) < 0.8
    # Nothing answers for an image without tissue, and no blank fills up what is missing.
    valid[0], valid[1, 2:] = False, False
    picks = choose(probs, labels, valid, criterion, share)
    loop = chosen_by_loop(probs, labels, valid, criterion, share)
    found = [
        [i[v].tolist() for i, v in zip(index, counts, strict=True)]
        for index, counts in zip(picks.index, picks.valid, strict=True)
    ]
    assert found == loop and found[0] == [[], [], []]


def test_the_authors_example_of_a_hardest_negative():
    probs = torch.tensor([[[0.6], [0.7]]])
    valid = torch.ones(1, 2, dtype=torch.bool)
    for criterion in ("max-max", "max-min"):
        assert choose(probs, torch.tensor([[0.0]]), valid, criterion).index.item() == 1
    assert choose(probs, torch.tensor([[1.0]]), valid, "max-max").index.item() == 1
    assert choose(probs, torch.tensor([[1.0]]), valid, "max-min").index.item() == 0


def test_blank_instances_are_never_chosen():
    probs = torch.tensor([[[0.01], [0.5], [0.9]]])
    valid = torch.tensor([[False, True, True]])
    assert choose(probs, torch.tensor([[1.0]]), valid, "max-min").index.item() == 1
    picks = choose(probs, torch.tensor([[1.0]]), torch.zeros_like(valid), "max-min")
    assert not picks.valid.any()


def test_gradient_of_the_chosen_alone_is_that_of_all():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(144, 3))
    instances, labels = torch.rand(2, 4, 3, 8, 8), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    logits = network(instances.flatten(0, 1)).view(2, 4, 3)
    valid = torch.tensor([[True] * 4, [False, True, False, False]])
    picks = choose(logits.detach().sigmoid(), labels, valid, "max-min", 0.5)
    chosen = chosen_by_loop(logits.detach().sigmoid(), labels, valid, "max-min", 0.5)
    terms = []
    for b in range(2):
        for k in range(3):
            for i in chosen[b][k]:
                p = logits[b, i, k].sigmoid()
                terms.append(-torch.log(p if labels[b, k] else 1 - p))
    assert len(terms) == 3 * (2 + 1)
    plain = torch.stack(terms).mean()
    expected = torch.autograd.grad(plain, list(network.parameters()))
    calls = []

    def classify(x):
        calls.append(len(x))
        return network(x)

    loss = answer_loss(answers(classify, instances, picks).own, labels, picks.valid)
    found = torch.autograd.grad(loss, list(network.parameters()))
    torch.testing.assert_close(loss, plain)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert calls == [len({(b, i) for b in range(2) for row in chosen[b] for i in row})]


def test_weights_multiply_the_loss_of_their_class():
    own, labels = torch.randn(2, 3, 1), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    every = torch.ones_like(own) > 0
    parts = [float(answer_loss(own[:, [k]], labels[:, [k]], every[:, [k]])) for k in range(3)]
    weighted = answer_loss(own, labels, every, torch.tensor([1.0, 2.0, 4.0]))
    assert float(weighted) == pytest.approx((parts[0] + 2 * parts[1] + 4 * parts[2]) / 3)


def test_unknown_targets_do_not_count():
    logits = torch.randn(5, 2, requires_grad=True)
    targets = torch.tensor([[1, -1], [0, 1], [-1, -1], [-1, 0], [1, 1]]).float()
    terms = [
        -torch.log(p if t else 1 - p)
        for p, t in zip(logits.sigmoid().flatten(), targets.flatten(), strict=True)
        if t >= 0
    ]
    torch.testing.assert_close(known_loss(logits, targets), torch.stack(terms).mean())
    nothing = known_loss(logits, torch.full((5, 2), -1.0))
    nothing.backward()
    assert nothing.item() == 0 and not logits.grad.any()


def test_a_label_says_of_every_instance_what_the_image_lacks_and_what_it_has_alone() -> None:
    labels = torch.tensor([[1.0, 0, 0], [1, 0, 1], [0, 0, 0]])
    assert certain(labels).tolist() == [[1, 0, 0], [-1, 0, -1], [0, 0, 0]]


def test_every_image_may_hold_the_negative_class() -> None:
    labels = torch.tensor([[0.0, 1], [1, 0]])
    assert naming(labels, 0).tolist() == [[1, 1], [1, 0]] and labels[0, 0] == 0
    assert naming(labels, None) is labels


def test_answers_know_the_image_of_each_instance() -> None:
    torch.manual_seed(0)
    instances = torch.rand(3, 4, 3, 2, 2)
    chosen = torch.tensor([[[1], [3]], [[0], [0]], [[2], [1]]])
    picks = Picks(chosen, torch.ones_like(chosen) > 0)
    said = answers(lambda one: one.flatten(1)[:, :2], instances, picks)
    assert said.image.tolist() == [0, 0, 1, 2, 2]
    expected = [instances[b, i].flatten()[:2] for b, i in [(0, 1), (0, 3), (1, 0), (2, 1), (2, 2)]]
    assert torch.equal(said.logits, torch.stack(expected))
    for b in range(3):
        for k in range(2):
            assert said.own[b, k, 0] == instances[b, chosen[b, k, 0]].flatten()[k]
