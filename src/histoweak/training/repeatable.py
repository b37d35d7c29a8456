"""The same numbers from the same seed: what PyTorch is asked for while a run computes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def repeatable() -> Iterator[None]:
    """Let PyTorch choose repeatable algorithms, and say where it has none.

    Asked for around a whole run, and not by the trainer, so that stages compute alike whether a
    training came before them in this process or in an earlier one.
    """
    # Without it, CUDA multiplies matrices in whatever order is free; read when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
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
