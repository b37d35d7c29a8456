import numpy as np
import pytest
import torch

from histoweak.inference.gate import close_gate, mask_absent, present_classes
from tests.inference.models import classifier, picture, segmenter


def test_an_absent_class_never_wins_although_all_present_logits_are_negative():
    logits = torch.tensor([-3.0, -1.0, -2.0])[:, None, None].expand(3, 2, 2)
    present = torch.tensor([True, False, True])
    # Multiplying by zero, the known mistake, would let class 1 win.
    assert (logits * present[:, None, None]).argmax(0).eq(1).all()
    assert mask_absent(logits, present).argmax(0).eq(2).all()


def test_softmax_after_masking_gives_absent_classes_nothing():
    masked = mask_absent(torch.randn(4, 5), torch.tensor([True, False, False, True])).softmax(0)
    assert masked[1:3].eq(0).all()
    torch.testing.assert_close(masked.sum(0), torch.ones(5))


def test_nothing_present_means_no_gate():
    scores = torch.randn(3, 4, 4)
    assert mask_absent(scores, torch.zeros(3, dtype=torch.bool)).equal(scores)
    assert mask_absent(scores, None).equal(scores)


def test_a_class_at_the_threshold_is_absent():
    """Han et al.: y > eps."""
    found = present_classes(torch.tensor([0.05, 0.25, 0.9]), 0.25)
    assert found.tolist() == [False, False, True]


def test_the_released_gate_multiplies_and_so_lets_absent_classes_win():
    """Han et al. as released: logits times 0 or 1."""
    logits = torch.tensor([-3.0, -1.0, -2.0])[:, None].expand(3, 2)
    present = torch.tensor([True, False, True])
    assert close_gate(logits, present, "multiply").argmax(0).eq(1).all()
    assert close_gate(logits, present).argmax(0).eq(2).all()
    nothing = torch.zeros(3, dtype=torch.bool)
    assert close_gate(logits, nothing, "multiply").argmax(0).eq(0).all()
    assert close_gate(logits, nothing).equal(logits)
    assert close_gate(logits, None, "multiply").equal(logits)


def test_a_model_can_be_gated_in_both_forms():
    model = segmenter()
    image = picture(40, 48)
    with torch.inference_mode():
        tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
        logits = model.network.eval()(tensor)[0]
    present = np.array([False, True, False])
    multiplied = (logits * torch.from_numpy(present)[:, None, None]).argmax(0)
    found = model.predict(image, present=present, form="multiply").array
    np.testing.assert_array_equal(found, multiplied)
    assert (model.predict(image, present=present).array == 1).all()
    with pytest.raises(TypeError, match="no logits of pixels"):
        classifier().predict(image, present=present, form="multiply")
