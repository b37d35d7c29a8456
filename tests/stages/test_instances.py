import io
import json

import numpy as np
import pytest
import torch

from histoweak.classes import ClassSet
from histoweak.data.manifest import Manifest
from histoweak.errors import TrainingError
from histoweak.inference.model import TissueModel
from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.pipeline import StageContext
from histoweak.progress import Progress
from histoweak.stages.cmil import BagConfig
from histoweak.stages.instances import InstancesConfig, instances_stage, known_targets
from histoweak.training.config import RuntimeConfig
from tests.data.test_crops import frame, write_store


def known(most, least, label, valid=None, negative=None, **config):
    """Targets of the instances of one patch; probabilities (n, K) by criterion."""
    probs = {"max-max": torch.tensor([most]), "max-min": torch.tensor([least])}
    valid = torch.ones(1, len(most)) > 0 if valid is None else torch.tensor([valid])
    config = InstancesConfig(**config)
    found = known_targets(probs, torch.tensor([label]), valid, config, negative)
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
    # Not even where more are wanted, or where there is nothing else.
    more = known([[0.9], [0.8]], [[0.9], [0.8]], [1], valid=[False, True], per_bag=1.0)
    assert more == [[-1], [1]]
    assert known([[0.9], [0.8]], [[0.9], [0.8]], [1], valid=[False, False]) == [[-1], [-1]]


def test_a_patch_of_one_class_tells_of_all_its_instances():
    most = least = [[0.9, 0.1], [0.2, 0.6], [0.3, 0.3]]
    blank = [True, True, False]
    assert known(most, least, [1, 0], blank, certain=True) == [[1, 0], [1, 0], [-1, -1]]
    # Of two classes the label does not say which is where.
    both = known(most, least, [1, 1], blank)
    assert known(most, least, [1, 1], blank, certain=True) == both
    # Any patch may hold the negative class, so that one with another class leaves two.
    either = known(most, least, [0, 1], blank, negative=0)
    assert known(most, least, [0, 1], blank, negative=0, certain=True) == either
    quiet = known(most, least, [1, 0], blank, negative=0, certain=True)
    assert quiet == [[1, 0], [1, 0], [-1, -1]]


def test_the_negative_class_is_what_no_other_claims():
    most, least = [[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]], [[0.2, 0.8], [0.9, 0.1], [0.3, 0.7]]
    # Most and least like the other class; the least is called otherwise and dropped.
    assert known(most, least, [1, 1], negative=0) == [[0, 1], [-1, -1], [-1, -1]]
    # That the label leaves the negative class out changes nothing.
    assert known(most, least, [0, 1], negative=0) == [[0, 1], [-1, -1], [-1, -1]]
    # Of a negative patch the hardest: it is what both classifiers must call negative.
    quiet = [[0.9, 0.1], [0.6, 0.4]]
    assert known(quiet, quiet, [1, 0], negative=0) == [[-1, -1], [1, 0]]
    # Where one of the others is unknown, so is the negative class.
    three = [[0.1, 0.9, 0.1], [0.7, 0.3, 0.2]]
    assert known(three, three, [1, 1, 0], negative=0) == [[0, 1, 0], [-1, -1, 0]]


def test_more_than_one_instance_may_be_chosen():
    most = least = [[0.9], [0.8], [0.7], [0.2]]
    assert known(most, least, [1], per_bag=0.5) == [[1], [1], [1], [-1]]


def stage(tmp_path, bias, classes=("a", "b"), images=None, more=(), **config):
    """Run the stage on a patch of each label, with classifiers that say the same of everything."""
    net = InstanceNetConfig(encoder="test_resnet", side=32, strides=(16,))
    network = InstanceNet(net, len(classes))
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor(bias))
    inputs = {"frames": tmp_path / "frames"}
    for name in ("cmil-max", "cmil-min"):
        TissueModel(network, net, ClassSet(classes)).save(tmp_path / name / "model")
        inputs[name] = tmp_path / name
    labels = np.eye(len(classes), dtype=int).tolist()
    frames = [
        frame([(0, 0, 32, 32), *more], patient=str(i), labels=[y] * (1 + len(more)))
        for i, y in enumerate(labels)
    ]
    grey = [np.full((64, 64, 3), 120, np.uint8)] * len(classes)
    write_store(tmp_path / "frames", frames, images or grey)
    said = io.StringIO()
    context = StageContext(
        tmp_path, inputs, 0, Manifest(ClassSet(classes), ()), Progress(stream=said)
    )
    runtime = RuntimeConfig(accelerator="cpu", devices=1)
    instances_stage(InstancesConfig(**config), BagConfig(), runtime).run(context)
    return json.loads((tmp_path / "counts.json").read_text()), said.getvalue()


def test_a_class_of_which_no_instance_is_kept_is_named(tmp_path):
    counts, said = stage(tmp_path, [9.0, -9.0])
    # One window each: `a` is found in its own patch, `b` rightly missed in that of the other.
    assert counts == {"a": {"present": 1, "absent": 0}, "b": {"present": 0, "absent": 1}}
    assert "warning: no instance that holds b was kept" in said


def test_instances_that_no_crop_can_show_whole_are_not_kept(tmp_path):
    # A window of 24 px in the corner: its one instance of 32 px reaches beyond the frame.
    counts, _ = stage(tmp_path, [9.0, -9.0], more=[(40, 40, 64, 64)])
    assert counts["a"] == {"present": 1, "absent": 0}


def test_no_instance_at_all_ends_with_what_to_do(tmp_path):
    white = [np.full((64, 64, 3), 250, np.uint8)] * 2
    with pytest.raises(TrainingError, match=r"no instance .* lower instances\.threshold"):
        stage(tmp_path, [9.0, -9.0], images=white)
