"""Stages with content-hashed keys, and the store that keeps what they write."""

from histoweak.pipeline.stage import Stage, StageContext

__all__ = ["Stage", "StageContext"]
