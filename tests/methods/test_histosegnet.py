import json
from pathlib import Path

import numpy as np
from PIL import Image

from histoweak.api import run_method
from histoweak.data.frames import FrameStore
from histoweak.inference.model import load_model
from tests.conftest import SEGMENTER, TINY
from tests.method_tester import MethodTester


class TestHistoSegNet(MethodTester):
    method = "histosegnet"
    settings = TINY["histosegnet"]
    last = "adjusted"
    change = "prediction.peak=class"
    changed = "prediction"


def test_a_student_learns_what_labels_allow_of_the_prediction(
    phantom: Path, tmp_path: Path
) -> None:
    settings = {
        **TINY["histosegnet"],
        "prediction": {"refine": []},
        "student": {"segmenter": SEGMENTER},
    }
    run = tmp_path / "run"
    finished = run_method("histosegnet", phantom, run, settings=[settings])
    assert finished.evaluation is not None
    ladder = json.loads(finished.evaluation.read_text())["ladder"]
    assert [rung["name"] for rung in ladder][-2:] == ["adjusted", "segmenter"]
    assert load_model(finished.model).kind == "segmenter"
    folders = {path.name.rpartition("-")[0]: path for path in (run / "stages").iterdir()}
    # On patches of one class, a mask holds nothing but the winner of the prediction.
    model = load_model(folders["prediction"] / "model")
    store = FrameStore(folders["frames"])
    labelled = 0
    for index, frame in enumerate(store.frames):
        mask = np.asarray(Image.open(folders["pseudo-masks"] / f"{index:06d}.png"))
        allowed = [i for i, bit in enumerate(frame.labels[0]) if bit]
        assert set(np.unique(mask)) <= {*allowed, 255}
        if len(allowed) == 1:
            won = model.predict(store.image(index)).array
            assert (mask[won == allowed[0]] != 255).any() or not (won == allowed[0]).any()
        labelled += int((mask != 255).sum())
    assert labelled > 0
