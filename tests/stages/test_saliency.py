from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoweak.classes import ClassSet
from histoweak.data.manifest import Manifest, Record
from histoweak.errors import ConfigError, ImageError
from histoweak.pipeline.keys import stage_key
from histoweak.refine.background import BackgroundConfig
from histoweak.stages.pseudo_masks import PseudoMaskConfig, pseudo_mask_stage
from histoweak.stages.saliency import SaliencyMaps
from histoweak.training.config import RuntimeConfig
from tests.stages.test_pseudo_masks import frame


def named(boxes, names, height: int = 8, width: int = 12):
    from dataclasses import replace

    labels = [(1, 0)] * len(boxes)
    return replace(frame(boxes, labels, height, width), windows=tuple(names))


def save(folder: Path, name: str, array) -> None:
    Image.fromarray(np.asarray(array, np.uint8)).save(folder / name)


def test_maps_are_laid_where_their_patches_lie(tmp_path) -> None:
    save(tmp_path, "a.png", np.full((16, 16), 90))
    save(tmp_path, "b.jpg", np.full((8, 8), 200))
    two = named([(0, 0, 8, 8), (4, 0, 12, 8)], ["/data/a.tif", "/data/b.png"])
    found = SaliencyMaps(str(tmp_path))(two)
    assert found.shape == (8, 12)
    assert (found[:, :4] == 90).all() and (found[:, 4:] == 200).all()


def test_a_missing_map_is_named_with_the_remedy(tmp_path) -> None:
    maps = SaliencyMaps(str(tmp_path))
    with pytest.raises(ImageError, match="no saliency map of a") as error:
        maps(named([(0, 0, 8, 8)], ["/data/a.tif"]))
    assert "a.png" in str(error.value) and "pseudo_masks.background" in str(error.value)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.arange(192).reshape(8, 8, 3), "is not grey"),
        (np.zeros((8, 16)), "16 x 8 pixels for a patch of 8 x 8"),
    ],
)
def test_maps_of_another_kind_are_refused(tmp_path, array, said) -> None:
    save(tmp_path, "a.png", array)
    with pytest.raises(ImageError, match=said):
        SaliencyMaps(str(tmp_path))(named([(0, 0, 8, 8)], ["a.png"]))


def test_two_maps_of_one_image_are_refused(tmp_path) -> None:
    save(tmp_path, "a.png", np.zeros((4, 4)))
    save(tmp_path, "a.bmp", np.zeros((4, 4)))
    with pytest.raises(ConfigError, match="both maps of a"):
        SaliencyMaps(str(tmp_path))


@pytest.mark.parametrize("folder", [None, "nowhere"])
def test_without_a_folder_the_remedy_is_said(folder) -> None:
    with pytest.raises(ConfigError, match="a folder of saliency maps"):
        SaliencyMaps(folder)


def test_the_content_of_the_maps_is_part_of_the_key(tmp_path) -> None:
    background = BackgroundConfig(kind="saliency", folder=str(tmp_path))
    config = PseudoMaskConfig(background=background)
    keys = set()
    for grey in (0, 255):
        save(tmp_path, "a.png", np.full((4, 4), grey))
        stage = pseudo_mask_stage(config, "peak", ClassSet(("a", "b")), runtime=RuntimeConfig())
        keys.add(stage_key(stage, 0, (), ""))
    assert len(keys) == 2


def rows(*images: str) -> Manifest:
    records = [Record(Path(image), labels=(1, 0), split="train", patient="p") for image in images]
    return Manifest(ClassSet(("a", "b")), tuple(records))


def test_maps_are_asked_for_before_training(tmp_path) -> None:
    save(tmp_path, "1.png", np.zeros((4, 4)))
    save(tmp_path, ".tmp-abc-1.png", np.zeros((4, 4)))  # what a killed writer leaves is no map
    background = BackgroundConfig(kind="saliency", folder=str(tmp_path))
    stage = pseudo_mask_stage(
        PseudoMaskConfig(background=background),
        "peak",
        ClassSet(("a", "b")),
        runtime=RuntimeConfig(),
    )
    assert stage.check is not None
    stage.check(rows("A/1.png"))
    assert [path.name for path in stage.files] == ["1.png"]
    with pytest.raises(ImageError, match="no saliency map of 2"):
        stage.check(rows("A/1.png", "A/2.png"))
    with pytest.raises(ConfigError, match="would share the map 1"):
        stage.check(rows("A/1.png", "B/1.png"))
