import torch

from histoweak.inference.gate import mask_absent, present_classes


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


def test_a_class_at_the_threshold_is_present():
    found = present_classes(torch.tensor([0.05, 0.1, 0.9]), 0.1)
    assert found.tolist() == [False, True, True]
