import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from histoweak.errors import WeightsError
from histoweak.nets.weights import load_into


def network() -> nn.Module:
    return nn.ModuleDict({"body": nn.Linear(3, 2), "head": nn.Linear(2, 2)})


def test_weights_arrive(tmp_path) -> None:
    source, target = network(), network()
    extra = {"fc.weight": torch.zeros(3), "fc.bias": torch.zeros(3)}
    save_file(source.state_dict() | extra, tmp_path / "w.safetensors")
    load_into(target, tmp_path / "w.safetensors", drop=("fc.", "head."))
    for name, value in source.state_dict().items():
        # Also `head.`, which the network has a place for.
        assert torch.equal(target.state_dict()[name], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("body.bias"), r"misses body\.bias"),
        (lambda s: s.update({"fc.bias": torch.zeros(1)}), r"unknown fc\.bias"),
        (lambda s: s.update({"body.bias": torch.zeros(5)}), r"another shape for body\.bias"),
        (lambda s: s.clear(), r"misses body\.bias, body\.weight, head\.bias and 1 more"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message) -> None:
    state = dict(network().state_dict())
    change(state)
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    target = network()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(WeightsError, match=message) as caught:
        load_into(target, path)
    assert str(path) in str(caught.value) and caught.value.exit_code == 7
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w", "w.safetensors.pkl"])
def test_formats_that_can_run_code_are_not_even_opened(tmp_path, name) -> None:
    (tmp_path / name).write_bytes(save(dict(network().state_dict())))
    with pytest.raises(WeightsError, match=r"expected \.safetensors"):
        load_into(network(), tmp_path / name)


def test_damaged_files_are_refused(tmp_path) -> None:
    whole = save(dict(network().state_dict()))
    damaged = [whole[:n] for n in (0, 4, 8, 20, len(whole) - 1)]
    damaged += [b"\xff" * 64, b"\x80\x05not a tensor", (2**60).to_bytes(8, "little") + b"{}"]
    path = tmp_path / "w.safetensors"
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="cannot be read"):
            load_into(network(), path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("none.safetensors", "folder.safetensors"):
        with pytest.raises(WeightsError, match="cannot be read"):
            load_into(network(), tmp_path / name)
