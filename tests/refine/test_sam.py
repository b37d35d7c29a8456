import sys

import numpy as np
import pytest
import torch

from histoweak.errors import ConfigError, WeightsError
from histoweak.refine import sam
from histoweak.refine.chain import refine
from histoweak.refine.config import SamConfig
from tests.inference.models import picture


def config(folder, **settings) -> SamConfig:
    return SamConfig(weights=str(folder), points=3, quality=0.0, largest=1.0, batch=4, **settings)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Folder of a SAM with random weights and hardly any layers."""
    transformers = pytest.importorskip("transformers", reason="needs the extra histoweak[sam]")
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "global_attn_indexes": [0],
        "image_size": 64,
        "patch_size": 8,
        "output_channels": 16,
        "mlp_dim": 16,
        "window_size": 4,
        "num_pos_feats": 8,
    }
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "image_embedding_size": 8}
    decoder = {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2}
    decoder |= {"iou_head_hidden_dim": 16, "num_hidden_layers": 1}
    torch.manual_seed(0)
    network = transformers.SamModel(
        transformers.SamConfig(
            vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
        )
    )
    folder = tmp_path_factory.mktemp("sam")
    network.save_pretrained(folder)
    return folder


def test_segments_of_a_network_vote(weights) -> None:
    image = picture(48, 72)
    network = sam.load_sam(str(weights), "cpu")
    settings = config(weights).model_copy(update={"quality": -1e9})
    masks = list(sam.segments(network, image, settings))
    assert len(masks) == 9 and all(m.shape == (48, 72) and m.dtype == bool for m in masks)
    scores = np.random.default_rng(0).random((2, 48, 72)).astype(np.float32)
    found = refine(image, scores, [settings])
    covered = np.any(masks, axis=0)
    np.testing.assert_array_equal(found[:, ~covered], scores[:, ~covered])
    assert covered.any() and not np.array_equal(found, scores)
    refused = settings.model_copy(update={"quality": 1e9})
    np.testing.assert_array_equal(refine(image, scores, [refused]), scores)


def test_prompts_lie_in_the_middle_of_equal_cells_as_x_and_y() -> None:
    assert sam._grid(2, (40, 80)).tolist() == [[20, 10], [60, 10], [20, 30], [60, 30]]


def test_masks_come_back_to_the_place_that_they_were_seen_at() -> None:
    pixels, inner = sam._prepare(torch.full((20, 40, 3), 255, dtype=torch.uint8), 64)
    assert pixels.shape == (1, 3, 64, 64) and inner == (32, 64)
    assert (pixels[:, :, 32:] == 0).all() and (pixels[0, 0, :32] > 2).all()
    logits = torch.full((16, 16), -1.0)
    logits[:8, 8:] = 1.0  # the right half of the part that is no padding
    found = sam._to_image(logits, 64, inner, (20, 40)) > 0
    assert found[:, 21:].all() and not found[:, :19].any()


def test_without_the_library_the_remedy_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr(sam.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'histoweak\[sam\]'"):
        sam.load_sam(str(tmp_path), "cpu")


@pytest.mark.parametrize("damage", ["no config", "no weights", "cut off"])
def test_wrong_folders_of_weights_are_explained(damage, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sam.importlib.util, "find_spec", lambda name: name)
    if damage != "no config":
        (tmp_path / "config.json").write_text("{")
    if damage == "cut off":
        pytest.importorskip("transformers", reason="needs the extra histoweak[sam]")
        (tmp_path / "model.safetensors").write_bytes(b"\0")
    with pytest.raises(WeightsError, match="folder of a SAM"):
        sam.load_sam(str(tmp_path), "cpu")
