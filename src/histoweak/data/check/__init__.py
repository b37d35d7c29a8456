"""Look through a data set before training on it: what is damaged, leaks, or is unlike the rest."""

from histoweak.data.check.config import CheckConfig
from histoweak.data.check.finding import SEVERITIES, Finding, Item, Severity
from histoweak.data.check.result import CheckResult, check_manifest

__all__ = [
    "SEVERITIES",
    "CheckConfig",
    "CheckResult",
    "Finding",
    "Item",
    "Severity",
    "check_manifest",
]
