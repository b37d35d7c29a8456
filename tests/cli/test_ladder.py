"""The tables of a run at the width of a plain terminal."""

import numpy as np
import pytest
from rich.console import Console

from histoweak.classes import ClassSet
from histoweak.cli.ladder import evidence_table, label_table, ladder_tables
from histoweak.stages.rung_tally import RungTally

NAMES = ("tumour epithelium", "necrosis", "lymphocytes", "tumour-associated stroma [b]")
STEPS = ("CAM", "pseudo-mask", "random walk", "dense CRF", "segmenter", "segmenter-2", "x" * 40)
PROTOCOL = {"gate": "none", "tta": "d4", "selection": "last", "split": "test", "seed": 3}


def rung(name: str, tta: str, seed: int) -> dict:
    tally = RungTally(len(NAMES), 4.0)
    rng = np.random.default_rng(seed)
    for i in range(3):
        pred, truth = rng.integers(0, 4, (2, 9, 9)).astype(np.uint8)
        tally.update(f"P{i}", pred, truth, 1.0)
    return {"name": name, "tta": tta, **tally.figures(NAMES)}


def figures(tta: tuple[str, ...] = ("none", "d4")) -> dict:
    ladder = [rung(name, tta[i % len(tta)], i) for i, name in enumerate(STEPS)]
    one = {"estimate": 0.5, "low": 0.4, "high": 0.6}
    kinds = ("pointing_game", "energy_lift", "leakage", "evidence_accuracy")
    scores = ("auroc", "average_precision", "f1", "calibration_error")
    patch = {name: dict.fromkeys(kinds, one) for name in NAMES}
    pixel = {name: dict.fromkeys(("average_precision", "auroc"), one) for name in NAMES}
    return {
        **PROTOCOL,
        "classes": ClassSet(NAMES).to_dict(),
        "images": 3,
        "skipped": 1,
        "ladder": ladder,
        "classification": {
            "tta": "d4",
            "patches": 3,
            "classes": {name: dict.fromkeys(scores, 0.5) for name in NAMES},
            **{f"mean_{score}": 0.25 for score in scores},
        },
        "evidence": {
            "tta": "d4",
            "patches": 3,
            "classes": patch,
            "mean": patch[NAMES[0]],
            "pixels": {"classes": pixel, "mean": pixel[NAMES[0]]},
        },
    }


def printed(thing: object, width: int = 80) -> str:
    console = Console(width=width, record=True, color_system=None)
    with console.capture() as capture:
        console.print(thing)
    return capture.get()


def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut():
    found = figures()
    for thing in (ladder_tables(found, 80), label_table(found), evidence_table(found)):
        text = printed(thing)
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        for word in ("epithelium", "lymphocytes", "associated", "[b]"):
            assert word in text


def test_every_step_stands_in_one_column_with_its_scores():
    found = figures()
    text = printed(ladder_tables(found, 80))
    tables = text.split("┏")[1:]
    assert len(tables) > 1
    for step in found["ladder"]:
        assert sum(step["name"][:9] in table.partition("┡")[0] for table in tables) >= 1
        for value in (step["miou_present"], step["miou_zero"], step["image_averaged_miou"]):
            assert f"{value:.4f}" in text
        for scores in step["classes"].values():
            assert f"{scores['iou']:.4f}" in text
        assert f"{step['boundary']['mean_f']:.4f}" in text
    one = printed(ladder_tables(found, 250), 250)
    assert one.count("┏") == 1
    assert one.count("boundary F at 4 microns") == 1


@pytest.mark.parametrize(("tta", "said"), [(("d4",), "d4"), (("none", "d4"), "as in its row")])
def test_the_protocol_stands_above_each_table(tta, said):
    found = figures(tta)
    text = " ".join(printed(ladder_tables(found, 80)).split())
    assert text.startswith(
        f"gate none, test-time augmentation {said}, checkpoint last, split test, seed 3; "
        "3 images (1 skipped), one confusion matrix"
    )
    for thing in (label_table(found), evidence_table(found)):
        whole = " ".join(printed(thing).split())
        assert "gate none, test-time augmentation d4, checkpoint last, split test, seed 3" in whole


def test_a_gate_that_only_some_steps_have_stands_in_a_row_of_its_own():
    found = figures(("d4",))
    found["gate"] = "predicted > 0.1"
    for step in found["ladder"][:-1]:
        step["gate"] = "none"
    text = " ".join(printed(ladder_tables(found, 250), 250).split())
    assert text.startswith("gate as in its row, test-time augmentation d4, checkpoint last")
    assert text.count("predicted > 0.1") == 1 and "│ gate" in text
    assert "gate none" in " ".join(printed(label_table(found)).split())
