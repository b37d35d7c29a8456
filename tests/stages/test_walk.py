import json

import numpy as np
import pytest
import torch

from histoweak.classes import ClassSet
from histoweak.config import build_config
from histoweak.errors import ConfigError
from histoweak.inference.model import TissueModel
from histoweak.methods.irn import Config, build
from histoweak.nets.boundary import BoundaryNet, BoundaryNetConfig
from histoweak.recipes import read_recipe
from histoweak.stages import walk_instances as walk_instances_module
from histoweak.stages.boundary import _look, _warn_of_missing_pairs
from histoweak.stages.scores import ScoresConfig
from histoweak.stages.view import Viewer
from histoweak.stages.walk import to_grid, walk, walk_stage
from histoweak.stages.walk_config import WalkConfig
from histoweak.stages.walk_instances import (
    walk_instances,
    write_instance_table,
    write_instances,
)
from histoweak.stages.walk_rung import walk_rung
from histoweak.training.config import RuntimeConfig
from tests.inference.models import CLASSES, classifier, picture

TWO = ClassSet(("normal", "tumour"))
PLAIN = WalkConfig(steps=3, damp=False)


def wall(height: int = 8, width: int = 10) -> np.ndarray:
    boundary = np.zeros((height, width), np.float32)
    boundary[:, width // 2] = 1
    return boundary


def test_a_class_without_evidence_gains_none_and_shares_sum_to_one() -> None:
    random = np.random.default_rng(0)
    scores = random.dirichlet([1, 1], (8, 10)).transpose(2, 0, 1).astype(np.float32)
    for config in (PLAIN, WalkConfig(steps=100)):
        walked = walk(scores, wall(), config, TWO)
        assert np.allclose(walked.sum(axis=0), 1, atol=1e-4)
    allowed = np.ones((2, 8, 10), bool)
    allowed[1] = False
    assert (walk(scores, wall(), PLAIN, TWO, allowed)[1] == 0).all()


def test_weak_classes_keep_their_strength_beside_strong_ones() -> None:
    # Divided by the highest score of the image, a class of half its strength stays below it
    # everywhere; shares are relative to what else speaks at the same pixel.
    scores = np.zeros((2, 8, 10), np.float32)
    scores[0, :, :5], scores[1, :, 6:] = 1.0, 0.2
    by_image = walk(scores, wall(), PLAIN.model_copy(update={"scale": "image"}), TWO)
    by_class = walk(scores, wall(), PLAIN, TWO)
    assert by_image[1].max() == pytest.approx(0.2, abs=1e-4)
    assert by_class[1, :, 7:].min() > 0.99


def test_background_of_the_published_form_has_no_map_of_its_own() -> None:
    scores = np.ones((2, 8, 10), np.float32)
    config = WalkConfig(steps=2, scale="image", background="normal")
    walked = walk(scores, wall(), config, TWO)
    assert (walked[0] == 0).all() and walked[1].max() == 1
    with pytest.raises(ConfigError, match="stroma"):
        walk_stage(WalkConfig(background="stroma"), Config().runtime, TWO)


@pytest.mark.parametrize(
    ("stride", "cells"), [(8, (5, 7)), (4, (9, 13)), (2, (18, 26)), (16, (3, 4))]
)
def test_scores_of_any_stride_come_to_the_grid_of_the_boundaries(stride, cells) -> None:
    # An image of 36 x 52 pixels, so a boundary map of 9 x 13; a ramp stays a ramp.
    columns = (np.arange(cells[1], dtype=np.float32) + 0.5) * stride
    scores = np.broadcast_to(columns, (2, *cells)).astype(np.float32)
    fine = to_grid(scores, stride / 4, np.zeros((9, 13), np.float32))
    assert fine.shape == (2, 9, 13)
    inner = slice(4, 11)
    assert np.allclose(fine[0, 4, inner], (np.arange(13)[inner] + 0.5) * 4, atol=2)


def boundary_model(mpp: float | None = None) -> TissueModel:
    torch.manual_seed(0)
    net = BoundaryNetConfig(encoder="test_resnet", width=8)
    return TissueModel(BoundaryNet(net), net, ClassSet(("boundary",)), mpp)


@pytest.mark.parametrize("size", [(33, 50), (5, 90), (600, 33)])
def test_rung_labels_images_of_any_size_and_scale_without_labels(size, tmp_path) -> None:
    boundary_model(2.0).save(tmp_path / "model")
    image = picture(*size)
    viewer = Viewer(classifier(2.0, gain=30), ScoresConfig(tta="none"), 64)
    view = viewer(image, 1.0)
    config = WalkConfig(steps=2, tta="none")
    predict = walk_rung(config, CLASSES, 0.25)({"boundary": tmp_path}, "cpu").predict
    assert predict(image, 1.0, view).shape == size
    still = walk_rung(WalkConfig(steps=0, damp=False, tta="none"), CLASSES, None)
    unmoved = still({"boundary": tmp_path}, "cpu").predict(image, 1.0, view)
    assert (unmoved == view.refined()).mean() > 0.85
    published = WalkConfig(steps=2, tta="none", scale="image", background="stroma")
    mask = walk_rung(published, CLASSES, 0.25)({"boundary": tmp_path}, "cpu").predict(
        image, 1.0, view
    )
    named = {1} | {int(i) for i in np.flatnonzero(view.called)}
    assert set(np.unique(mask)) <= named


class Said:
    """Stands for a context, of which only what is said is looked at."""

    def __init__(self) -> None:
        self.progress, self.lines = self, []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_classes_without_neighbours_of_another_class_are_named() -> None:
    said = Said()
    _warn_of_missing_pairs(torch.tensor([[5, 0, 0], [0, 7, 2], [0, 2, 0]]), CLASSES, said)
    assert len(said.lines) == 1 and "tumour" in said.lines[0] and "stroma" not in said.lines[0]
    _warn_of_missing_pairs(torch.tensor([[5, 1], [1, 7]]), TWO, said)
    assert len(said.lines) == 1


class Frames:
    """Two small frames."""

    frames = (None, None)

    def __len__(self) -> int:
        return 2

    def image(self, index: int) -> np.ndarray:
        return picture(48, 40, index)


def test_a_boundary_map_that_stops_nothing_is_said() -> None:
    model, said = boundary_model(), Said()
    with torch.no_grad():
        model.network.boundary.bias.fill_(-30)
    assert _look(model, Frames(), said)["collapsed"] and "not be stopped" in said.lines[0]
    with torch.no_grad():
        model.network.boundary.bias.fill_(30)
    figures = _look(model, Frames(), said)
    assert not figures["collapsed"] and figures["share_above_half"] == 1 and len(said.lines) == 1


def test_every_recipe_builds_for_any_number_of_classes() -> None:
    many = ClassSet(("normal", *(f"tissue {i}" for i in range(30))))
    for name in ("default", "published", "glas-cpu", "phantom-cpu"):
        config = build_config(Config, read_recipe("irn", name), name)
        names = [stage.name for stage in build(config, many)]
        assert names[:7] == [
            "frames", "classifier", "scores", "seeds", "boundary", "walk", "pseudo-masks",
        ]  # fmt: skip


@pytest.mark.parametrize("recipe", ["glas-cpu", "phantom-cpu"])
def test_recipes_differ_from_those_of_plain_cam_in_nothing_but_the_walk(recipe) -> None:
    own, plain = read_recipe("irn", recipe), read_recipe("vgg-cam", recipe)
    added = {key: own.pop(key) for key in ("seeds", "boundary", "walk")}
    assert json.dumps(own) == json.dumps(plain) and added


def test_instances_of_one_class_are_told_apart(tmp_path) -> None:
    # Two objects of class 1 side by side on 20 x 40 cells: displacements point at their centres.
    rows, columns = np.mgrid[:20, :40].astype(np.float32)
    centre = np.where(columns < 20, 9.5, 29.5)
    field = np.stack([9.5 - rows, centre - columns]).astype(np.float32)
    start = np.zeros((2, 20, 40), np.float32)
    start[1, 4:16, 3:17] = start[1, 4:16, 23:37] = 1.0
    config = WalkConfig(steps=0, instances=True)
    numbered, found = walk_instances(start, np.zeros((20, 40), np.float32), field, config)
    assert found.tolist() == [[1, 1], [1, 1]]
    assert ((numbered > 0) == (start[1] > 0)).all()
    assert set(np.unique(numbered[:, :20])) == {0, 1} and set(np.unique(numbered[:, 20:])) == {0, 2}
    listed = write_instances(tmp_path, 3, numbered, found)
    assert [(row.frame, row.instance, row.cells) for row in listed] == [(3, 1, 168), (3, 2, 168)]
    write_instance_table(tmp_path / "instances.csv", listed)
    text = (tmp_path / "instances.csv").read_text().splitlines()
    assert text == ["frame,instance,label,cells,score", "3,1,1,168,1.0", "3,2,1,168,1.0"]
    nothing, none = walk_instances(start * 0, np.zeros((20, 40), np.float32), field, config)
    assert not nothing.any() and not len(none)


def test_a_class_without_a_map_has_no_share_of_the_classes() -> None:
    with pytest.raises(ConfigError, match=r"walk\.scale"):
        walk_stage(WalkConfig(background="normal"), RuntimeConfig(), TWO)
    walk_stage(WalkConfig(background="normal", scale="image"), RuntimeConfig(), TWO)


def test_instances_are_the_same_however_many_are_walked_at_once(monkeypatch) -> None:
    """Each instance of five in a row has its own centre."""
    rows, columns = np.mgrid[:12, :60].astype(np.float32)
    field = np.stack([5.5 - rows, columns // 12 * 12 + 5.5 - columns]).astype(np.float32)
    start = np.random.default_rng(0).random((2, 12, 60)).astype(np.float32)
    boundary = np.zeros((12, 60), np.float32)
    found = []
    for at_once in (1, 2, 16):
        monkeypatch.setattr(walk_instances_module, "AT_ONCE", at_once)
        found.append(walk_instances(start, boundary, field, WalkConfig(steps=2, instances=True)))
    assert len(found[0][1]) >= 3
    for other in found[1:]:
        np.testing.assert_array_equal(found[0][0], other[0])
        np.testing.assert_allclose(found[0][1], other[1], rtol=1e-6)


def test_instances_need_displacements() -> None:
    with pytest.raises(ConfigError, match=r"boundary\.displacement"):
        build(Config(walk=WalkConfig(instances=True)), TWO)
