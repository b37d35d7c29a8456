import torch

from histoweak.stages.instances import InstancesConfig, known_targets


def known(most, least, label, valid=None, **config):
    """Targets of the instances of one patch; probabilities (n, K) by criterion."""
    probs = {"max-max": torch.tensor([most]), "max-min": torch.tensor([least])}
    valid = torch.ones(1, len(most)) > 0 if valid is None else torch.tensor([valid])
    found = known_targets(probs, torch.tensor([label]), valid, InstancesConfig(**config))
    return found[0].tolist()


def test_both_extremes_of_a_present_class_are_kept_where_they_agree():
    most, least = [[0.9], [0.2], [0.7]], [[0.8], [0.9], [0.6]]
    # Most alike by the first: 0. Least alike by the second: 2, which it still calls present.
    assert known(most, least, [1]) == [[1], [-1], [1]]


def test_a_chosen_instance_that_its_classifier_calls_otherwise_is_dropped():
    assert known([[0.4], [0.3]], [[0.2], [0.9]], [1]) == [[-1], [-1]]
    assert known([[0.6], [0.1]], [[0.7], [0.1]], [0]) == [[-1], [-1]]
    assert known([[0.4], [0.3]], [[0.2], [0.9]], [1], agreement=False) == [[1], [-1]]


def test_where_classifiers_contradict_each_other_their_mean_decides():
    assert known([[0.9], [0.1]], [[0.2], [0.3]], [1]) == [[1], [-1]]
    assert known([[0.6], [0.1]], [[0.2], [0.3]], [1]) == [[-1], [-1]]


def test_the_hardest_negative_is_chosen_by_both():
    assert known([[0.1], [0.4]], [[0.2], [0.3]], [0]) == [[-1], [0]]


def test_a_kept_instance_holds_nothing_that_its_patch_lacks():
    most = least = [[0.9, 0.1, 0.2], [0.1, 0.3, 0.8]]
    assert known(most, least, [1, 0, 1]) == [[1, 0, -1], [-1, 0, 1]]


def test_blank_instances_are_not_chosen():
    assert known([[0.9], [0.8]], [[0.9], [0.8]], [1], valid=[False, True]) == [[-1], [1]]


def test_more_than_one_instance_may_be_chosen():
    most = least = [[0.9], [0.8], [0.7], [0.2]]
    assert known(most, least, [1], per_bag=0.5) == [[1], [1], [1], [-1]]
