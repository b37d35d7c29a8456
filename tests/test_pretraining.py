"""Training without labels, from the command line to the networks that start from it."""

import json
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from histoweak.api import configure
from histoweak.config import build_config
from histoweak.data.manifest import Manifest
from histoweak.data.views import ViewConfig, random_view
from histoweak.errors import ConfigError, ImageError, ManifestError
from histoweak.methods import METHODS
from histoweak.nets import post_norm, resnet38d
from histoweak.nets.backbone import Backbone
from histoweak.nets.encoders import Encoder
from histoweak.nets.kinds import build_network
from histoweak.nets.segmenters import Segmenter, SegmenterNetConfig
from histoweak.nets.vgg import VggCamEncoder
from histoweak.objectives.agreement import agreement_loss, projection_head
from histoweak.pipeline import Stage
from histoweak.pipeline.keys import stage_key
from histoweak.pretraining import START_KEYS, pretrain, unlabelled
from histoweak.progress import Progress
from histoweak.stages import pretrain as stage
from histoweak.stages.pretrain import PretrainConfig, spread
from histoweak.stages.segmenter import SegmenterConfig, segmenter_stage
from histoweak.training.config import RuntimeConfig
from tests import program
from tests.conftest import FIT, TINY, write_settings

SETTINGS = {
    "pretrain": {
        "encoder": "test_resnet",
        "views": {"size": 32},
        "hidden": 16,
        "out": 16,
        "fit": FIT,
    }
}
DEVICES = ("--devices", 1, "--num-nodes", 1, "--strategy", "auto")


@pytest.fixture(scope="module")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of an encoder that was trained on the images of the phantom as a folder."""
    folder = tmp_path_factory.mktemp("pretrain")
    settings = write_settings(folder / "tiny.yaml", SETTINGS)
    ended = program.run(
        "pretrain",
        phantom.parent / "images",
        "--out",
        folder / "run",
        "--config",
        settings,
        *DEVICES,
    )
    assert ended.code == 0, ended
    for key in set(START_KEYS.values()):
        assert f"--set {key}={folder / 'run' / 'encoder.safetensors'}" in ended.stdout
    assert str(folder / "run" / "encoder.safetensors") in ended.stdout
    return folder / "run"


def test_it_logs_its_loss_and_spread(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "spread" in row][-1]
    assert np.isfinite(last["loss"]) and 0 < last["spread"] < 2


def test_the_same_command_again_changes_nothing(trained: Path, phantom: Path) -> None:
    before = (trained / "encoder.safetensors").read_bytes()
    settings = trained.parent / "tiny.yaml"
    images = phantom.parent / "images"
    ended = program.run("pretrain", images, "--out", trained, "--config", settings)
    assert ended.code == 0 and "begins" not in ended.stderr
    assert (trained / "encoder.safetensors").read_bytes() == before


def test_interrupted_it_ends_with_the_same_weights(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def interrupting(images: torch.Tensor, config: ViewConfig) -> torch.Tensor:
        seen.append(len(images))
        if len(seen) == 9:  # the fifth step of six; the third has left a checkpoint
            raise KeyboardInterrupt
        return random_view(images, config)

    images, run = phantom.parent / "images", tmp_path / "run"
    quiet = Progress(quiet=True)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "random_view", interrupting)
        with pytest.raises(KeyboardInterrupt):
            pretrain(images, run, settings=[SETTINGS], progress=quiet)
    assert not (run / "encoder.safetensors").exists()
    (checkpoint,) = run.glob("work/pretrain-*/_scratch/last.ckpt")
    assert checkpoint.stat().st_size > 0
    with monkeypatch.context() as patched:
        seen.clear()
        patched.setattr(stage, "random_view", interrupting)  # three steps, two views each
        kept = pretrain(images, run, settings=[SETTINGS], progress=quiet)
    assert len(seen) == 6
    # Not the run of `trained`: that process has one thread, and two add up in another order.
    whole = pretrain(images, tmp_path / "whole", settings=[SETTINGS], progress=quiet)
    assert kept.read_bytes() == whole.read_bytes()


TINY_38D = {2: (1, 8, 8, 2, 1), 3: (1, 8, 8, 2, 1), 4: (6, 8, 8, 2, 1), 5: (3, 8, 16, 1, 2)}
STARTS = {
    "camel": ({"encoder": "test_resnet"}, "test_resnet"),
    "drs": ({"encoder": "test_resnet", "strides": [8, 16, 32]}, "test_resnet"),
    "histosegnet": ({"encoder": "x1.7"}, "x1.7"),
    "hisynseg": ({"encoder": "tu-test_resnet", "decoder_channels": 16}, "test_resnet"),
    "irn": ({"encoder": "test_resnet", "strides": [8, 16, 32]}, "test_resnet"),
    "mlps": ({"encoder": "resnet38d", "strides": [8], "head": "last"}, "resnet38d"),
    "supervised": ({"encoder": "tu-test_resnet", "decoder_channels": 16}, "test_resnet"),
    "vgg-cam": ({"encoder": "test_resnet", "strides": [8, 16, 32]}, "test_resnet"),
}
"""Of each method: settings of its first network, and the encoder to be pretrained."""


@pytest.mark.parametrize("method", METHODS)
def test_every_method_starts_from_it(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The layout of the published network, with few channels.
    monkeypatch.setattr(resnet38d, "_PLAIN", TINY_38D)
    monkeypatch.setattr(resnet38d, "_BOTTLENECK", {6: (16, 0.3), 7: (16, 0.5)})
    settings, name = STARTS[method]
    check_start(name, START_KEYS[method], method, settings, tmp_path)


def test_the_larger_network_of_histosegnet_starts_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(post_norm.LAYERS, "vgg16_bn", ((8, False), (0, False), (8, True)) * 2)
    settings = {"encoder": "vgg16_bn", "strides": [4]}
    key = START_KEYS["histosegnet"]
    check_start("histosegnet-vgg16_bn", key, "histosegnet", settings, tmp_path)


def check_start(
    name: str, key: str, method: str, settings: dict[str, object], folder: Path
) -> None:
    """Write an encoder of random weights, and find all of them in the method's network."""
    torch.manual_seed(0)
    backbone = Backbone(name).eval()
    for weight in backbone.parameters():
        nn.init.normal_(weight, 0.1)
    assert backbone(torch.rand(2, 3, 64, 64)).shape == (2, backbone.width)
    path = folder / "encoder.safetensors"
    save_file(backbone.encoder.state_dict(), path)
    first, _, last = key.rpartition(".")
    given: dict[str, object] = {**settings, last: str(path)}
    for part in reversed(first.split(".")):
        given = {part: given}
    net = attrgetter(first)(configure(method, settings=[given]))
    found = {n.replace(".", "_"): p for n, p in build_network(net, 2).named_parameters()}
    for own, weight in backbone.encoder.named_parameters():
        ends = [n for n in found if n.endswith("_" + own.replace(".", "_"))]
        assert torch.equal(found[min(ends, key=len)], weight), own


def test_classifiers_and_segmenters_start_from_it(trained: Path) -> None:
    path = trained / "encoder.safetensors"
    known = load_file(path)
    encoder = Encoder("test_resnet", (8, 16, 32), str(path))
    net = SegmenterNetConfig(encoder="tu-test_resnet", decoder_channels=16, weights=str(path))
    segmenter = Segmenter(net, 2)
    for network in (encoder.body, segmenter.network.encoder.model):
        state = network.state_dict()
        assert len(state) > 10
        for name, value in state.items():
            assert torch.equal(value, known[name]), name


def test_a_native_encoder_of_the_segmenter_takes_its_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = SegmenterNetConfig(encoder="resnet18", decoder_channels=16)
    state = Segmenter(plain, 2).network.encoder.state_dict()
    path = tmp_path / "encoder.safetensors"
    save_file({**state, "fc.weight": torch.zeros(2, 2)}, path)
    net = plain.model_copy(update={"weights": str(path)})
    loaded = Segmenter(net, 2).network.encoder.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_a_run_starts_from_it(trained: Path, phantom: Path, tmp_path: Path) -> None:
    settings = write_settings(tmp_path / "tiny.yaml", TINY["vgg-cam"])
    weights = trained / "encoder.safetensors"
    more = [f"classifier.net={{encoder: test_resnet, weights: {weights}}}"]
    more += [f"segmenter.net.weights={weights}"]
    words = [word for setting in more for word in ("--set", setting)]
    out = tmp_path / "run"
    ended = program.run(
        "run", "vgg-cam", "--data", phantom, "--out", out, "--config", settings, *words
    )
    assert ended.code == 0, ended


def test_the_convolutions_of_vgg_fit_as_well(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = Backbone("vgg16_bn")
    assert backbone(torch.rand(1, 3, 32, 32)).shape == (1, 512)
    path = tmp_path / "vgg.safetensors"
    save_file(backbone.encoder.state_dict(), path)
    loaded = VggCamEncoder(16, True, str(path)).features.state_dict()
    assert torch.equal(loaded["0.weight"], backbone.encoder.state_dict()["features.0.weight"])


def test_the_content_of_the_weights_is_part_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    config = SegmenterConfig(net=SegmenterNetConfig(weights=str(path)))

    def key() -> str:
        stage = segmenter_stage(config, RuntimeConfig(), masks="pseudo-masks", starts={})
        return stage_key(stage, 0, (), "")

    keys = {key()}
    for content in (b"a", b"b"):
        path.write_bytes(content)
        keys.add(key())
    assert len(keys) == 3
    assert Stage("a", config, (), print).files == ()


def test_held_out_images_labels_and_masks_stay_unseen(phantom: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(phantom)
    used = unlabelled(manifest, tmp_path)
    assert [r.image for r in used.records] == [r.image for r in manifest.split("train")]
    assert all(r.mask is None and r.labels == () for r in used.records)


def test_a_folder_of_links_is_searched(tmp_path: Path) -> None:
    source, links = tmp_path / "source" / "scans", tmp_path / "links"
    source.mkdir(parents=True)
    links.mkdir()
    Image.new("RGB", (8, 8)).save(source / "a.png")
    (links / "a.png").symlink_to(source / "a.png")
    (record,) = unlabelled(links, tmp_path / "run").records
    assert record.image.resolve() == source / "a.png" and record.patient == "scans"


def test_a_data_set_is_no_folder_of_unlabelled_images(phantom: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"held-out ones too.*Give .*manifest\.csv in place"):
        unlabelled(phantom.parent, tmp_path / "run")


def test_a_patch_is_told_from_others() -> None:
    with pytest.raises(ConfigError, match=r"fit\.batch = 1"):
        build_config(PretrainConfig, {"fit": {"batch": 1}}, "test")


def test_nothing_to_learn_from(phantom: Path, tmp_path: Path) -> None:
    lines = phantom.read_text().splitlines()
    table = phantom.with_name("held-out.csv")
    table.write_text("\n".join([lines[0], *(line for line in lines[1:] if "test" in line)]))
    try:
        with pytest.raises(ManifestError, match="no train rows and no unassigned rows"):
            unlabelled(table, tmp_path)
    finally:
        table.unlink()
    with pytest.raises(ImageError, match="holds no image"):
        unlabelled(tmp_path, tmp_path / "run")


def test_lightly_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from histoweak.objectives import agreement

    monkeypatch.setattr(agreement.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install histoweak"):
        agreement.require_lightly()


@pytest.mark.parametrize("name", ["vicreg", "barlow-twins", "simclr"])
def test_each_loss_falls_when_views_agree(name: str) -> None:
    torch.manual_seed(0)
    head = projection_head(name, 8, 16, 16)
    loss: nn.Module = agreement_loss(name)
    first = head(torch.randn(32, 8))
    agreed, apart = loss(first, first), loss(first, head(torch.randn(32, 8)))
    assert agreed.item() < apart.item()
    apart.backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_spread_tells_a_collapse() -> None:
    torch.manual_seed(0)
    assert float(spread(torch.randn(400, 64))) == pytest.approx(1, abs=0.05)
    assert float(spread(torch.randn(64).expand(400, 64))) == pytest.approx(0, abs=1e-5)
