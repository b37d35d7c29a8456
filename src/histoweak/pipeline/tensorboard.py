"""The figures of a stage for TensorBoard, which is an extra."""

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoweak.errors import ConfigError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def require_tensorboard() -> None:
    """Check that TensorBoard is installed.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "TensorBoard is not installed",
            where="--tensorboard",
            remedy="Run `pip install histoweak[tensorboard]`, or leave the option out",
        )


class TensorBoardLog:
    """Writes the numbers among the values of `log(step=..., ...)` as scalars.

    Args:
        folder: where the event files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def __call__(self, **values: Any) -> None:
        """Write the numbers of one entry; an entry without a `step` is left out."""
        if "step" not in values:
            return
        step = int(values["step"])
        for name, value in values.items():
            number = value.item() if hasattr(value, "item") else value
            if name != "step" and isinstance(number, int | float) and math.isfinite(number):
                self._open(step).add_scalar(name, number, step)

    def close(self) -> None:
        """Write out what is held back."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, step: int) -> "SummaryWriter":
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # What a killed attempt logged from this step on is logged again.
            self._writer = SummaryWriter(self._folder, purge_step=step)
        return self._writer
