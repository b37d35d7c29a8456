import math

import numpy as np
import pytest
import torch

from histoweak.objectives.classification import class_weights, multilabel_loss, single_label_loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [-40.0, 40.0, 0.0], [1.0, 1.0, 1.0]])
LABELS = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]])
WEIGHTS = torch.tensor([0.5, 1.0, 1.5])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_multilabel_loss_is_the_mean_of_binary_cross_entropies(weights) -> None:
    terms = []
    for n, k in np.ndindex(4, 3):
        z, y = float(LOGITS[n, k]), float(LABELS[n, k])
        # -y log s(z) - (1 - y) log (1 - s(z)) with s the sigmoid
        term = y * math.log1p(math.exp(-z)) + (1 - y) * math.log1p(math.exp(z))
        terms.append(term * (1.0 if weights is None else float(weights[k])))
    assert float(multilabel_loss(LOGITS, LABELS, weights)) == pytest.approx(np.mean(terms))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_single_label_loss_takes_only_patches_of_one_class(weights) -> None:
    total, weight = 0.0, 0.0
    for n, k in ((0, 0), (2, 2)):
        row = [float(v) for v in LOGITS[n]]
        own = 1.0 if weights is None else float(weights[k])
        log_sum = max(row) + math.log(sum(math.exp(v - max(row)) for v in row))
        total, weight = total + own * (log_sum - row[k]), weight + own
    found = float(single_label_loss(LOGITS, LABELS, weights))
    assert found == pytest.approx(total / weight)


def test_single_label_loss_of_no_such_patch_is_zero_and_can_be_derived() -> None:
    logits = LOGITS[[1, 3]].clone().requires_grad_()
    loss = single_label_loss(logits, LABELS[[1, 3]])
    loss.backward()
    assert float(loss.detach()) == 0 and logits.grad is not None and (logits.grad == 0).all()


@pytest.mark.parametrize("loss", [multilabel_loss, single_label_loss])
def test_a_batch_without_labelled_windows_has_loss_zero(loss) -> None:
    logits = torch.zeros(0, 3, requires_grad=True)
    value = loss(logits, torch.zeros(0, 3))
    value.backward()
    assert float(value.detach()) == 0


def test_weights_are_inverse_to_frequency_with_mean_one() -> None:
    labels = torch.tensor([[1, 0], [1, 0], [1, 1], [1, 0]])
    weights = class_weights(labels)
    assert weights.tolist() == pytest.approx([2 / 5, 8 / 5])


def test_a_class_that_never_occurs_leaves_the_weights_of_the_others_alone() -> None:
    labels = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    assert class_weights(labels).tolist() == pytest.approx([2 / 5, 8 / 5, 1])


def test_weights_of_no_classes_that_occur_are_even() -> None:
    assert class_weights(torch.zeros(3, 2)).tolist() == [1, 1]
