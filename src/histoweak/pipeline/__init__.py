"""Stages with content-hashed keys, and the runs that execute them and take up what is there."""

from histoweak.pipeline.follow import is_leader
from histoweak.pipeline.metrics_log import read_metrics
from histoweak.pipeline.prune import Leftover, prune
from histoweak.pipeline.run import Run
from histoweak.pipeline.stage import Stage, StageContext

__all__ = [
    "Leftover",
    "Run",
    "Stage",
    "StageContext",
    "is_leader",
    "prune",
    "read_metrics",
]
