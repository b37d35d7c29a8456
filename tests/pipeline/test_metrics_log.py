import json
from pathlib import Path

import numpy as np
import pytest

from histoweak.pipeline.metrics_log import MetricsLog, read_metrics


def test_lines_carry_stage_key_and_time(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path, "fit", "k1")(step=1, loss=0.5, note="ok", per_class=[1, 2.5])
    (line,) = path.read_text().splitlines()
    entry = json.loads(line)
    assert isinstance(entry.pop("time"), float)
    assert entry == {
        "stage": "fit", "key": "k1", "step": 1, "loss": 0.5, "note": "ok", "per_class": [1, 2.5]
    }  # fmt: skip


def test_what_is_not_finite_becomes_null_and_scalars_become_numbers(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, "fit", "k1")
    log(step=np.int64(1), a=float("nan"), b=np.float32(0.5), c=[float("inf")], d={"e": np.inf})
    (entry,) = read_metrics(path)
    assert (entry["step"], entry["a"], entry["b"], entry["c"], entry["d"]) == (
        1, None, 0.5, [None], {"e": None}
    )  # fmt: skip


def test_reserved_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="time"):
        MetricsLog(tmp_path / "m", "fit", "k")(time=3)


def test_reading_survives_torn_lines_and_keeps_the_last(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, "fit", "k1")
    for step in (1, 2, 3):
        log(step=step, loss=float(step))
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        MetricsLog(path, "fit", "k1")(step=2, loss=20.0)
        found = {entry["step"]: entry["loss"] for entry in read_metrics(path)}
        assert found.pop(2) == 20.0
        assert all(found[step] == step for step in found)
        lines = whole[:cut].count(b"\n")
        assert len(found) >= lines - (lines >= 2)


def test_values_of_one_step_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, "fit", "k1")
    log(step=1, loss=3.0)
    log(step=1, iou=0.5)
    log(step=1, loss=2.0)
    (entry,) = read_metrics(path)
    assert (entry["loss"], entry["iou"]) == (2.0, 0.5)


def test_stages_and_entries_without_step_stay_apart(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path, "fit", "k1")(step=1, loss=1.0)
    MetricsLog(path, "fit", "k2")(step=1, loss=2.0)
    MetricsLog(path, "fit", "k2")(iou=0.1)
    MetricsLog(path, "fit", "k2")(iou=0.1)
    assert [e.get("loss") for e in read_metrics(path, "k2")] == [2.0, None, None]
    assert len(read_metrics(path)) == 4
    assert read_metrics(tmp_path / "none") == []
