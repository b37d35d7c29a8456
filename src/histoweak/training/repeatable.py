"""The same numbers from the same seed: what PyTorch is asked for while a run computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def repeatable() -> Iterator[None]:
    """Let PyTorch choose repeatable algorithms, and say where it has none.

    A trainer asks for the same and leaves it so; asked for around a whole run, stages compute alike
    whether a training came before them in this process or in an earlier one.
    """
    chosen = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    # The types of this module lack the attribute that its documentation names.
    memory: Any = torch.utils.deterministic
    filling = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It writes over all new memory, against code that reads what nobody wrote: 5 % of a step.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        memory.fill_uninitialized_memory = filling
        torch.use_deterministic_algorithms(chosen, warn_only=warn_only)
