"""What PyTorch is asked for while a run computes."""

import pytest
import torch

from histoweak.training.repeatable import repeatable


def flags() -> tuple[bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def test_algorithms_are_repeatable_inside_and_as_they_were_outside() -> None:
    before = flags()
    with repeatable():
        assert flags() == (True, True, False)
    assert flags() == before


def test_an_error_leaves_them_as_they_were() -> None:
    before = flags()
    with pytest.raises(KeyboardInterrupt), repeatable():
        raise KeyboardInterrupt
    assert flags() == before
