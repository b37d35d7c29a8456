import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from histoweak.config import build_config
from histoweak.data.manifest import Record
from histoweak.data.rescale import rescale_image
from histoweak.errors import ConfigError, ImageError, OutputError, WeightsError
from histoweak.inference.config import InferenceConfig
from histoweak.inference.model import load_model
from histoweak.refine.chain import refine
from histoweak.refine.white import WhiteConfig, white_mask
from tests.inference.models import CLASSES, classifier, picture, segmenter

TINY = segmenter().net.model_dump(mode="json")


def plain_probs(model, image):
    """The network on the whole image, no tiles."""
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        return model.network.eval()(tensor).softmax(1)[0].numpy()


def test_a_segmenter_yields_the_softmax_of_its_network():
    model, image = segmenter(), picture(50, 70)
    np.testing.assert_allclose(model.probs(image), plain_probs(model, image), atol=1e-6)
    assert (model.predict(image).array == plain_probs(model, image).argmax(0)).all()


def test_tiles_and_orientations_keep_size_and_sum():
    model, image = segmenter(), picture(90, 70)
    probs = model.probs(image, tile=48, overlap=16, tta="flips", batch=3)
    assert probs.shape == (3, 90, 70) and probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (17, 2)])
@pytest.mark.parametrize("make", [segmenter, classifier])
def test_the_smallest_images_are_labelled(make, size):
    model = make()
    assert model.predict(picture(*size), tta="d4", tile=32).array.shape == size
    assert model.probs(picture(*size)).shape == (3, *size)


@pytest.mark.parametrize(("mpp", "method"), [(0.25, Image.Resampling.BOX), (1.0, 2)])
def test_images_are_brought_to_the_scale_of_the_model_and_masks_back(mpp, method):
    model, image = segmenter(mpp=0.5), picture(45, 60)
    size = (round(60 * mpp / 0.5), round(45 * mpp / 0.5))
    working = np.asarray(Image.fromarray(image).resize(size, method))
    expected = plain_probs(model, working)
    np.testing.assert_allclose(model.probs(image, mpp), expected, atol=1e-6)
    enlarged = F.interpolate(
        torch.from_numpy(expected)[None], (45, 60), mode="bilinear", align_corners=False
    )
    result = model.predict(image, mpp)
    assert (result.array == enlarged[0].argmax(0).numpy()).mean() > 0.999
    assert result.mpp == mpp and result.classes == CLASSES


def test_without_a_known_scale_nothing_is_rescaled():
    image = picture(20, 30)
    assert segmenter(mpp=0.5).probs(image).shape == (3, 20, 30)
    assert segmenter().probs(image, 0.25).shape == (3, 20, 30)


def test_a_scale_that_would_fill_the_memory_is_refused():
    with pytest.raises(ImageError, match="megapixels"):
        segmenter(mpp=0.25).predict(picture(40, 40), 500.0)


def test_white_background_gets_no_class():
    rule = WhiteConfig(gray=200, min_pixels=4)
    model, image = segmenter(white=rule), picture(40, 40).copy()
    image[:10] = 255
    mask = model.predict(image).array
    white = white_mask(image, rule)
    assert white[:10].all() and (mask[white] == 255).all() and (mask[~white] < 3).all()


def test_the_smallest_white_area_counts_at_the_scale_of_the_model():
    # 8 x 8 white pixels at half the working mpp are 16 pixels there.
    image = np.full((32, 32, 3), 90, np.uint8)
    image[8:16, 8:16] = 255
    for smallest, whites in ((16, 64), (17, 0)):
        model = segmenter(mpp=1.0, white=WhiteConfig(gray=200, min_pixels=smallest))
        assert (model.predict(image, 0.5).array == 255).sum() == whites


def test_only_present_classes_win():
    model, image = segmenter(), picture(40, 40)
    probs = plain_probs(model, image)
    gated = model.predict(image, present=[True, False, True]).array
    assert (gated == np.where(probs[0] >= probs[2], 0, 2)).all()
    assert (model.predict(image, present=[0, 0, 0]).array == probs.argmax(0)).all()


def test_a_classifier_enlarges_its_maps_and_takes_the_posterior():
    model, image = classifier(gain=50), picture(64, 96)
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        maps = model.network(tensor)
    np.testing.assert_allclose(model.maps(image), maps[0], atol=1e-5)
    enlarged = F.interpolate(maps, (64, 96), mode="bilinear", align_corners=False).softmax(1)
    np.testing.assert_allclose(model.probs(image), enlarged[0], atol=1e-5)
    np.testing.assert_allclose(model.patch_probs(image), maps.mean((2, 3)).sigmoid()[0], atol=1e-6)


def test_maps_of_tiles_fit_together():
    model = classifier()
    assert model.stride == 16
    assert model.maps(picture(100, 70), tile=64).shape == (3, 7, 5)
    assert model.probs(picture(100, 70), tile=64, tta="d4").shape == (3, 100, 70)


def test_exclusive_classes_share_one():
    image = picture(32, 32)
    assert classifier(exclusive=True).patch_probs(image).sum() == pytest.approx(1)
    assert classifier().patch_probs(image, exclusive=True).sum() == pytest.approx(1)


def test_a_segmenter_has_no_maps():
    with pytest.raises(TypeError, match="classifier"):
        segmenter().maps(picture(32, 32))


def test_a_record_is_read_and_labelled(tmp_path):
    image = picture(30, 40)
    Image.fromarray(image).save(tmp_path / "a.png")
    model = segmenter(mpp=0.5)
    found = model.predict_record(Record(tmp_path / "a.png", mpp=0.25))
    assert (found.array == model.predict(image, 0.25).array).all()


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ConfigError, match="'tile'"):
        segmenter().probs(picture(8, 8), tiles=64)
    with pytest.raises(ConfigError, match="overlap"):
        segmenter().probs(picture(8, 8), tile=64, overlap=64)


@pytest.mark.parametrize(
    "model",
    [
        segmenter(mpp=0.5, white=WhiteConfig()),
        classifier(exclusive=True),
    ],
)
def test_a_saved_model_loads_in_one_line_with_equal_outputs(model, tmp_path):
    model.save(tmp_path / "model", figures={"mIoU on test": 0.8})
    loaded = load_model(tmp_path / "model")
    image = picture(40, 60)
    assert np.array_equal(loaded.probs(image), model.probs(image))
    for name in ("kind", "net", "classes", "mpp", "white", "exclusive", "provenance"):
        assert getattr(loaded, name) == getattr(model, name)
    assert not any(p.name.startswith(".") for p in tmp_path.iterdir())
    # A run folder stands for the model that it holds.
    assert np.array_equal(load_model(tmp_path).probs(image), model.probs(image))


def test_saving_again_does_nothing_and_another_model_is_refused(tmp_path):
    folder = tmp_path / "model"
    segmenter().save(folder)
    before = (folder / "model.safetensors").stat()
    segmenter().save(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(OutputError, match="something else"):
        segmenter(seed=1).save(folder)
    segmenter(seed=1).save(folder, overwrite=True)
    assert load_model(folder).describe() == segmenter(seed=1).describe()
    assert list(tmp_path.iterdir()) == [folder]


def test_the_model_card_is_plain_text_whatever_the_names_are(tmp_path):
    model = segmenter()
    model = type(model)(**{**vars(model), "provenance": {"note": "<script>|x\n# y</script>"}})
    model.save(tmp_path / "model", figures={"mIoU": 0.8123456789})
    card = (tmp_path / "model" / "README.md").read_text()
    assert "<script>" not in card and "\n# y" not in card
    assert "tumour (0), stroma (1), necrosis (2)" in card and "0.812346" in card
    assert "load_model" in card


def edited(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def lose(name):
    return lambda folder: (folder / name).unlink()


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def other_weights(folder):
    other = folder.with_name("other")
    segmenter(seed=1).save(other)
    (other / "model.safetensors").replace(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose("config.json"), "holds no config.json"),
        (lose("model.safetensors"), "holds no config.json and model.safetensors"),
        (write("config.json", b"{"), "cannot be read"),
        (write("config.json", b"[1]"), "no JSON object"),
        (write("config.json", b"[" * 100_000), "cannot be read"),
        (write("config.json", b" " * 1_000_001), "larger than 1 MB"),
        (write("model.safetensors", b"\x80\x04pickle" * 50), "model.safetensors"),
        (write("model.safetensors", b""), "model.safetensors"),
        (truncate, "cannot be read"),
        (other_weights, "another digest"),
        (lambda f: edited(f, format=2), "Update histoweak"),
        (lambda f: edited(f, kinds=1), "unknown key 'kinds'. Did you mean 'kind'"),
        (lambda f: edited(f, kind="regressor"), "kind"),
        (lambda f: edited(f, kind="classifier"), "unknown key"),
        (lambda f: edited(f, mpp=-1), "mpp"),
        (lambda f: edited(f, mpp=float("nan")), "mpp"),
        (lambda f: edited(f, classes={"names": []}), "0 classes"),
        (lambda f: edited(f, classes={"names": ["a", "b"]}), "another shape"),
        (lambda f: edited(f, net={"architecture": "Nothing"}), "Nothing"),
        (lambda f: edited(f, net={"encoder": "../../evil"}), "evil"),
        (lambda f: edited(f, net={**TINY, "decoder_channels": 10_000}), "describes"),
        (lambda f: edited(f, net={**TINY, "decoder_channels": 10**12}), "model"),
    ],
)
def test_a_damaged_or_forged_folder_is_refused_with_a_remedy(damage, message, tmp_path):
    folder = tmp_path / "model"
    segmenter().save(folder)
    damage(folder)
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(folder)
    assert caught.value.remedy and str(folder) in str(caught.value.where)


def test_starting_weights_of_the_description_are_never_fetched(tmp_path):
    segmenter().save(tmp_path / "m")
    net = {**segmenter().net.model_dump(), "weights": "imagenet"}
    edited(tmp_path / "m", net=net)
    assert load_model(tmp_path / "m").net.weights == "imagenet"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        load_model(tmp_path / "nowhere")


def test_memory_does_not_grow_with_the_classes_of_a_high_image():
    # 1600 rows in tiles of 32: no band that leaves the tiling is higher than a tile.
    model = segmenter()
    heights = []
    bands = model._prob_bands(picture(200, 40), build(tile=32))
    with torch.inference_mode():
        heights = [band.shape[1] for band in bands]
    assert max(heights) <= 32 and sum(heights) == 200


def build(**options):
    from histoweak.inference.config import InferenceConfig

    return InferenceConfig(**options)


def test_refiners_act_at_the_scale_of_the_model():
    model, image = classifier(mpp=1.0, gain=80), picture(64, 80)
    chain = ["crf", {"kind": "white", "gray": 150, "min_pixels": 0}]
    small = rescale_image(image, 0.5)
    configs = build_config(InferenceConfig, {"refine": chain}, "test").refine
    expected = refine(small, model.probs(image, 0.5), configs)
    np.testing.assert_allclose(model.probs(image, 0.5, refine=chain), expected, atol=1e-5)
    same = model.predict(small, 1.0, refine=chain).array
    silent = expected.max(0) == 0
    assert silent.any() and (same[silent] == 255).all()
    assert (same == expected.argmax(0))[~silent].mean() > 0.999
    assert model.predict(image, 0.5, refine=chain).array.shape == (64, 80)
