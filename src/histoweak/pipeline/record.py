"""`run.json`: what a run is and how far it has come, true at every moment."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from histoweak.atomic import append_line, atomic_write_text
from histoweak.errors import OutputError

RUN_FILE, HISTORY_FILE = "run.json", "history.jsonl"

_PACKAGES = (
    "histoweak",
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "lightning",
    "numpy",
    "scipy",
    "scikit-image",
    "pillow",
)


class RunRecord:
    """The content of `run.json`; each change is written at once and atomically.

    Args:
        folder: the run folder.
        head: what is to be told of the run as a whole, with `data` as `{"path", "digest"}`.
        keys: key of each stage by name, in the order of the run.
    """

    def __init__(self, folder: Path, head: Mapping[str, Any], keys: Mapping[str, str]) -> None:
        self._folder = folder
        self._stages: dict[str, dict[str, Any]] = {
            name: {"name": name, "key": key, "status": "pending"} for name, key in keys.items()
        }
        self._content: dict[str, Any] = {
            **head,
            "started": now(),
            "finished": None,
            "status": "running",
            "reason": None,
            "stages": list(self._stages.values()),
        }

    def begin(self) -> None:
        """Move the record of the run before to `history.jsonl` and write this one.

        Raises:
            OutputError: the folder holds finished stages of a run on other data.
            OSError: the folder cannot be written.
        """
        before = read_run(self._folder / RUN_FILE)
        if before is not None:
            if any((self._folder / "stages").glob("*")):  # else nothing is there to be mixed
                _check_same_data(self._folder, before["data"], self._content["data"])
            append_line(self._folder / HISTORY_FILE, json.dumps(before))
        self._write()

    def mark(self, stage: str, status: str, **more: Any) -> None:
        """Set the status of a stage (`running` or `done`) and tell more about it."""
        self._stages[stage] |= {"status": status, **more}
        self._write()

    def fail(self, stage: str, reason: str) -> None:
        """Set stage and run to `failed`."""
        self._content |= {"reason": f"stage {stage!r}: {reason}"}
        self._stages[stage] |= {"status": "failed", "reason": reason}
        self.end("failed")

    def end(self, status: str) -> None:
        """Set the status of the whole run."""
        self._content |= {"status": status, "finished": now()}
        self._write()

    def _write(self) -> None:
        text = json.dumps(self._content, indent=2) + "\n"
        atomic_write_text(self._folder / RUN_FILE, text)


def read_run(path: Path) -> dict[str, Any] | None:
    """Content of a `run.json`, or None where there is none.

    Raises:
        OutputError: the file is not one that histoweak wrote.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["data"]["digest"], content["stages"][:]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(
            "is not a record of a run",
            where=path,
            expected="a run.json that histoweak wrote",
            remedy="Give another --out, or move this file away",
        ) from error
    return dict(content)


@cache
def describe_environment() -> dict[str, Any]:
    """Versions of Python, the system and the packages that decide results."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _check_same_data(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    if old["digest"] == new["digest"]:
        return
    same_path = old.get("path") == new["path"]
    became = "as it was before it changed" if same_path else f"not on {new['path']}"
    raise OutputError(
        f"holds a run on {old.get('path')} (digest {str(old['digest'])[:12]}), {became} "
        f"(digest {new['digest'][:12]})",
        where=folder,
        expected="an empty folder or a run on the same data",
        remedy="Give another --out, or delete this folder to begin anew",
    )
