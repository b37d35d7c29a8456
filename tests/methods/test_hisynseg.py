"""HisynSeg as a whole, and what its released code does otherwise."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from histoweak.api import configure, run_method
from histoweak.config import merge
from histoweak.data.frames import FrameStore
from histoweak.data.manifest import Manifest
from histoweak.errors import ConfigError
from histoweak.inference.model import TissueModel, load_model
from histoweak.methods import find_method
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.scores import miou_present
from histoweak.nets.segmenters import SegmenterNetConfig
from histoweak.pipeline import Stage
from histoweak.progress import Progress
from histoweak.stages.segmenter import validation_score
from histoweak.synthesis.bezier import bezier
from histoweak.synthesis.config import BezierConfig
from histoweak.synthesis.online import OnlineSynthesis
from histoweak.training.selection import selection_of, with_selection
from tests.conftest import TINY
from tests.method_tester import MethodTester
from tests.synthesis.fake import plain_cache, seeded

RECIPES = ("published", "luad-histoseg", "bcss-wsss", "wsss4luad", "glas-cpu", "phantom-cpu")
SWITCHED_OFF = {
    "mosaic": {"synthesis": {"mosaic_share": 0}},
    "bezier": {"synthesis": {"mosaic_share": 1}},
    "filter": {"authenticity": None},
    "consistency": {"segmenter": {"losses": {"consistency": 0}}},
}


class TestHisynSeg(MethodTester):
    method = "hisynseg"
    settings = TINY["hisynseg"]

    def test_what_is_kept_is_a_segmenter_like_any_other(self, run: Path) -> None:
        model = load_model(run)
        assert model.kind == "segmenter" and not model.has_maps
        assert not [name for name in model.network.state_dict() if name.startswith(("head", "seg"))]
        assert model.predict(np.zeros((40, 50, 3), np.uint8)).array.shape == (40, 50)


def stages(recipe: str, phantom: Path, *settings: dict) -> dict[str, Stage]:
    config = configure("hisynseg", recipe, settings)
    built = find_method("hisynseg").load().build(config, Manifest.read(phantom).classes)
    return {stage.name: stage for stage in built}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_makes_stages(recipe: str, phantom: Path) -> None:
    names = list(stages(recipe, phantom))
    assert names[0] == "frames" and names[-2:] == ["segmenter", "evaluation"]


@pytest.mark.parametrize("what", SWITCHED_OFF)
def test_each_part_can_be_switched_off(what: str, phantom: Path) -> None:
    made = stages("default", phantom, SWITCHED_OFF[what])
    judges = {name.removeprefix("authenticity-") for name in made if name.startswith("auth")}
    kept = {"mosaic", "bezier"} - {what}
    assert judges == (set() if what == "filter" else kept)
    assert set(made["segmenter"].inputs) == {"frames", *(f"authenticity-{j}" for j in judges)}


def test_the_filter_learns_from_the_blobs_that_it_judges(phantom: Path) -> None:
    """The released filter of LUAD and BCSS learns from 12 vertices and judges 5."""

    def vertices(recipe: str) -> list[int]:
        made = stages(recipe, phantom)
        configs = [made[name].config for name in ("authenticity-bezier", "segmenter")]
        return [config.synthesis.bezier.vertices for config in configs]

    assert vertices("published") == [12, 5]
    assert vertices("default") == [5, 5] and vertices("luad-histoseg") == [5, 5]


def test_blobs_show_every_pair_of_classes() -> None:
    """The released filtered images of WSSS4LUAD hold no normal tissue."""
    assert configure("hisynseg", "wsss4luad").synthesis.bezier.pairs is None
    _, masks = bezier(plain_cache((5, 3, 1)), 200, 32, BezierConfig(feather=0), seeded())
    corner_and_inside = {(int(m[0, 0]), int(k)) for m in masks for k in m.unique()}
    assert set(permutations(range(3), 2)) <= corner_and_inside


class Denies(nn.Module):
    """Gives the classes of an image's label next to nothing, and the others all."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([0.0, 3.0, 2.0, 1.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.bias[:, None, None].expand(len(images), 4, *images.shape[-2:])


def test_validation_helps_itself_to_true_labels_only_when_asked(phantom: Path) -> None:
    """The released code cuts the classes absent from a validation image before it scores."""
    manifest = Manifest.read(phantom)
    records = manifest.split("val")
    model = TissueModel(Denies(), SegmenterNetConfig(), manifest.classes)
    expected = {"none": ConfusionMatrix(4), "truth": ConfusionMatrix(4)}
    for record in records:
        assert record.mask is not None
        truth = np.asarray(Image.open(record.mask))
        # The strongest class of all, and of those in the label: 1, 2, 3, 0 in this order.
        best = next(k for k in (1, 2, 3, 0) if record.labels[k])
        expected["none"].update(np.full_like(truth, 1), truth)
        expected["truth"].update(np.full_like(truth, best), truth)
    found = {gate: validation_score(model, records, "val-mask", gate) for gate in expected}
    assert found == {gate: pytest.approx(miou_present(m)) for gate, m in expected.items()}
    assert found["truth"] > found["none"]
    assert configure("hisynseg").segmenter.validation_gate == "none"


def test_a_second_round_learns_from_masks_of_the_frames_own_size(
    phantom: Path, tmp_path: Path
) -> None:
    """The released second round resizes every patch to 256 whatever the network was trained on."""
    second = {
        "teacher": {"tta": "none", "threshold": 0.26},
        "segmenter": TINY["hisynseg"]["segmenter"],
    }
    settings = [TINY["hisynseg"], {"authenticity": None, "round_two": second}]
    quiet = Progress(quiet=True)
    done = run_method("hisynseg", phantom, tmp_path / "run", settings=settings, progress=quiet)
    store = FrameStore(done.artefacts["frames"])
    for index, frame in enumerate(store.frames):
        mask = np.asarray(Image.open(done.artefacts["teacher-masks"] / f"{index:06d}.png"))
        assert mask.shape == (frame.height, frame.width)
        (label,) = frame.labels
        assert set(np.unique(mask)) <= {*(k for k, bit in enumerate(label) if bit), 255}
    assert done.evaluation is not None
    figures = json.loads(done.evaluation.read_text())
    assert [rung["name"] for rung in figures["ladder"]] == ["segmenter", "segmenter-2"]
    first, last = (load_model(done.artefacts[n] / "model") for n in ("segmenter", "segmenter-2"))
    assert first.describe().weights != last.describe().weights


def test_a_second_round_may_go_on_with_the_first_network(phantom: Path, tmp_path: Path) -> None:
    """At a rate of next to nothing, it ends with the weights that the first round has left."""
    still = {"fit": {"steps": 1, "optim": {"lr": 1e-12, "weight_decay": 0}}}
    second = {"teacher": {"tta": "none", "threshold": 0.26}, "start": "segmenter"}
    second["segmenter"] = merge([TINY["hisynseg"]["segmenter"], still])
    settings = [TINY["hisynseg"], {"authenticity": None, "round_two": second}]
    quiet = Progress(quiet=True)
    done = run_method("hisynseg", phantom, tmp_path / "run", settings=settings, progress=quiet)
    first, last = (load_model(done.artefacts[n] / "model") for n in ("segmenter", "segmenter-2"))
    before = dict(first.network.named_parameters())
    for name, weight in last.network.named_parameters():
        torch.testing.assert_close(weight, before[name])


def test_the_filter_learns_from_images_of_the_size_that_it_judges(phantom: Path) -> None:
    made = stages("default", phantom, {"segmenter": {"crop": 96, "filter": {"threshold": 0.7}}})
    for kind in ("mosaic", "bezier"):
        setting = made[f"authenticity-{kind}"].config
        assert (setting.size, setting.threshold) == (96, 0.7)
    with pytest.raises(ConfigError, match=r"crop=64 .*expected 224"):
        stages("default", phantom, {"round_two": {"segmenter": {"crop": 64}}})
    unfiltered = {"authenticity": None, "round_two": {"segmenter": {"crop": 64}}}
    assert "segmenter-2" in stages("default", phantom, unfiltered)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [([[1, 1]], "of another class"), ([[0, 4]], r"\(0, 4\).*4 classes"), ([[-1, 0]], "greater")],
)
def test_pairs_of_classes_are_checked_before_anything_runs(phantom: Path, pairs, message) -> None:
    blobs = {"bezier": {"pairs": [[0, 3], *pairs]}}
    with pytest.raises(ConfigError, match=message):
        stages("default", phantom, {"synthesis": blobs})


def test_a_second_round_is_as_the_first_where_it_says_nothing(phantom: Path) -> None:
    first = configure("hisynseg", "luad-histoseg").segmenter
    settings = [{"round_two": {"segmenter": {"fit": {"steps": 7}}}}]
    second = configure("hisynseg", "luad-histoseg", settings).round_two
    fit = first.fit.model_copy(update={"steps": 7})
    assert second.segmenter == first.model_copy(update={"fit": fit})
    assert second.teacher.white is None and second.teacher.threshold == 0.7
    settings = [{"round_two": {"teacher": {"white": {"gray": 210}}}}]
    assert configure("hisynseg", "luad-histoseg", settings).round_two.teacher.white.gray == 210
    given = configure("vgg-cam", "glas-cpu", [{"self_training": {}}])
    assert given.self_training.segmenter == given.segmenter


def test_a_second_round_sees_other_images_than_the_first(
    phantom: Path, tmp_path: Path, monkeypatch
) -> None:
    made: list[Tensor] = []
    plain = OnlineSynthesis.__call__

    def noted(self, *args):
        made.append(plain(self, *args).images)
        return plain(self, *args)

    monkeypatch.setattr(OnlineSynthesis, "__call__", noted)
    settings = [TINY["hisynseg"], {"authenticity": None, "round_two": {"teacher": {"tta": "none"}}}]
    run_method("hisynseg", phantom, tmp_path, settings=settings, progress=Progress(quiet=True))
    steps = TINY["hisynseg"]["segmenter"]["fit"]["steps"]
    assert len(made) == 2 * steps
    for first, second in zip(made[:steps], made[steps:], strict=True):
        assert first.shape == second.shape and not torch.equal(first, second)


def test_the_choice_of_checkpoints_speaks_only_of_networks_that_validation_judges() -> None:
    plain = configure("hisynseg")
    chosen = with_selection(plain, "val-mask")
    assert chosen.authenticity == plain.authenticity and chosen.segmenter.fit.select == "val-mask"
    assert selection_of(chosen) == "val-mask" and selection_of(plain) == "last"
    with pytest.raises(ConfigError, match=r"unknown key 'authenticity\.fit\.select'"):
        configure("hisynseg", "default", [{"authenticity": {"fit": {"select": "val-mask"}}}])


def test_a_second_round_cannot_go_on_with_another_network(phantom: Path) -> None:
    second = {"start": "segmenter", "segmenter": {"net": {"decoder_channels": 64}}}
    with pytest.raises(ConfigError, match=r"differs in \['decoder_channels'\]"):
        stages("default", phantom, {"round_two": second})


def test_a_first_round_has_no_masks_to_agree_with(phantom: Path) -> None:
    with pytest.raises(ConfigError, match="no pseudo-masks"):
        stages("default", phantom, {"round_two": {"teacher": {"combine": "agree"}}})
