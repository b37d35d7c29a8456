"""Losses by which two views of one image agree, from lightly (extra `pretrain`)."""

import importlib.util
from typing import Any, Literal

from histoweak.errors import ConfigError

Agreement = Literal["vicreg", "barlow-twins", "simclr"]


def require_lightly() -> None:
    """Refuse to go on without lightly; better said before images are decoded.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec("lightly") is None:
        raise ConfigError(
            "lightly is not installed",
            where="pretraining",
            remedy="Run `pip install histoweak[pretrain]`",
        )


def agreement_loss(name: Agreement) -> Any:
    """Return a module that maps two batches of vectors (B, D) to a loss.

    `vicreg`: Bardes et al. (ICLR 2022), equation 6; `barlow-twins`: Zbontar et al. (ICML 2021),
    equation 1; `simclr`: Chen et al. (ICML 2020), equation 1 (NT-Xent), temperature 0.5.
    """
    from lightly import loss

    losses = {
        "vicreg": loss.VICRegLoss,
        "barlow-twins": loss.BarlowTwinsLoss,
        "simclr": loss.NTXentLoss,
    }
    return losses[name](gather_distributed=True)


def projection_head(name: Agreement, width: int, hidden: int, out: int) -> Any:
    """Return the head that the loss's paper puts behind the encoder: (B, width) -> (B, out)."""
    from lightly.models.modules import heads

    if name == "simclr":
        return heads.SimCLRProjectionHead(width, hidden, out)
    if name == "vicreg":
        return heads.VICRegProjectionHead(width, hidden, out)
    return heads.BarlowTwinsProjectionHead(width, hidden, out)
