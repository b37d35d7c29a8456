"""`metrics.jsonl`: one line of figures at a time, readable after any kill."""

import json
import math
import time
from pathlib import Path
from typing import Any

from histoweak.atomic import append_line

_OWN = ("stage", "key", "time")


class MetricsLog:
    """Appends the figures of one stage; calling it writes one line.

    Args:
        path: the file, created when the first figure comes.
        stage: name of the stage.
        key: its full key.
    """

    def __init__(self, path: Path, stage: str, key: str) -> None:
        self.path, self._stage, self._key = path, stage, key

    def __call__(self, **values: Any) -> None:
        """Append one line: the values, the stage, its key and the time (seconds since 1970).

        Scalars of numpy and torch become numbers; numbers that are not finite become null.

        Raises:
            ValueError: a value is named `stage`, `key` or `time`.
            TypeError: a value is no number, text, list or mapping of such.
            OSError: the file cannot be written.
        """
        taken = set(values).intersection(_OWN)
        if taken:
            raise ValueError(f"{sorted(taken)} are written by the log itself")
        entry = {"stage": self._stage, "key": self._key, "time": round(time.time(), 3)}
        append_line(self.path, json.dumps(entry | _plain(values), allow_nan=False))


def read_metrics(path: Path, stage_key: str | None = None) -> list[dict[str, Any]]:
    """Read the figures of a run, or of one stage of it.

    A resumed stage repeats the steps since its last checkpoint: entries of the same stage, key
    and `step` are one, in which later values replace earlier ones. Entries without a `step` are
    all kept, in the order in which they were written.

    Args:
        path: a `metrics.jsonl`; a missing file reads as no figures.
        stage_key: the full key of the stage wanted, or None for all.

    Raises:
        OSError: the file cannot be read.
    """
    entries: list[dict[str, Any]] = []
    by_step: dict[tuple[str, str, Any], dict[str, Any]] = {}
    content = path.read_bytes() if path.exists() else b""
    for line in content.splitlines():
        entry = _parse(line)
        if entry is None or stage_key not in {None, entry["key"]}:
            continue
        if "step" in entry:
            identity = (entry["stage"], entry["key"], json.dumps(entry["step"]))
            if identity in by_step:
                by_step[identity].update(entry)
                continue
            by_step[identity] = entry
        entries.append(entry)
    return entries


def _parse(line: bytes) -> dict[str, Any] | None:
    """One entry, or None for a line that a kill tore."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(entry, dict) and all(name in entry for name in _OWN)
    return entry if whole else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if not isinstance(value, bool | int | float | str) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
