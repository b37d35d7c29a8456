"""MXNet's format against files that this test writes by its description, byte for byte."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from typer.testing import CliRunner

from histoweak.cli import app
from histoweak.errors import OutputError, WeightsError
from histoweak.nets import convert_resnet38d as converter
from histoweak.nets.mxnet_file import TYPES, V1, V2, read_params
from histoweak.nets.resnet38d import ResNet38d

CODES = {np.dtype(text): code for code, text in TYPES.items()}


def array_bytes(array: np.ndarray, form: str = "V2") -> bytes:
    """One array as MXNet of three generations wrote it."""
    head = {"V2": struct.pack("<Ii", V2, 0), "V1": struct.pack("<I", V1), "old": b""}[form]
    kind = "I" if form == "old" else "q"
    shape = struct.pack(f"<I{array.ndim}{kind}", array.ndim, *array.shape)
    rest = struct.pack("<iii", 1, 0, CODES[array.dtype]) + array.tobytes()
    return head + shape + (rest if array.ndim else b"")


def file_bytes(arrays: dict[str, np.ndarray], form: str = "V2") -> bytes:
    names = b"".join(struct.pack("<Q", len(n.encode())) + n.encode() for n in arrays)
    values = b"".join(array_bytes(a, form) for a in arrays.values())
    count = struct.pack("<Q", len(arrays))
    return struct.pack("<QQ", 0x112, 0) + count + values + count + names


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    made = {f"arg:{t}": (random.random((2, 3)) * 9).astype(t) for t in TYPES.values()}
    return {**made, "aux:é": random.random((1, 2, 3, 1)).astype(np.float32)}


@pytest.mark.parametrize("form", ["V2", "V1", "old"])
def test_arrays_of_every_generation_and_type_come_back(tmp_path, arrays, form) -> None:
    (tmp_path / "a.params").write_bytes(file_bytes(arrays, form))
    found = read_params(tmp_path / "a.params")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@given(st.data())
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_files_are_refused_or_read_never_worse(tmp_path, arrays, data) -> None:
    whole = bytearray(file_bytes(arrays))
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.params"
    path.write_bytes(whole)
    try:
        found = read_params(path)
    except WeightsError as error:
        assert str(path) in str(error) and "Fetch" in str(error)
    else:
        assert sum(a.nbytes for a in found.values()) <= len(whole)


def u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends 8 bytes too early"),
        (u64(1, 2, 3), "does not begin"),
        (u64(0x112, 0, 1 << 60), "1152921504606846976 arrays"),
        (u64(0x112, 0, 1) + struct.pack("<I2I", 2, 1 << 31, 1 << 31), "too early"),
        (
            u64(0x112, 0, 1) + struct.pack("<I2Iiii", 2, 1 << 31, 1 << 31, 1, 0, 0),
            "ends 18446744073709551616 bytes too early",
        ),
        (u64(0x112, 0, 1) + struct.pack("<I", 200), "200 dimensions"),
        (u64(0x112, 0, 1) + struct.pack("<Ii", V2, 1), "storage type 1"),
        (u64(0x112, 0, 1) + struct.pack("<IiIq", V2, 0, 1, -4), r"shape \(-4,\)"),
        (u64(0x112, 0, 1) + struct.pack("<IIiii", 1, 1, 1, 0, 77), "type 77"),
        (u64(0x112, 0, 0, 1, 1 << 40), "a name of 1099511627776 bytes"),
        (u64(0x112, 0, 0, 1, 1) + b"\xff", "no text"),
        (u64(0x112, 0, 0, 1, 1) + b"a", "0 arrays with 1 different names"),
        (u64(0x112, 0, 0, 0, 7), "8 bytes too many"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, content, message) -> None:
    (tmp_path / "x.params").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read_params(tmp_path / "x.params")


def published_names(network: ResNet38d) -> dict[str, str]:
    """Our name to MXNet's, block by block as the publication lists them."""
    blocks = {2: 3, 3: 3, 4: 6, 5: 3, 6: 1, 7: 1}
    names = {"conv1a.weight": "arg:conv1a_weight"}
    norm = {"weight": "arg:{}_gamma", "bias": "arg:{}_beta", "running_mean": "aux:{}_moving_mean",
            "running_var": "aux:{}_moving_var"}  # fmt: skip
    for part, text in norm.items():
        names[f"bn7.{part}"] = text.format("bn7")
    for stage, count in blocks.items():
        for block in range(count):
            ours = f"b{stage}" + (f"_{block}" if block else "")
            theirs = f"{stage}" + (f"b{block}" if block else "a")
            branches = ("branch2a", "branch2b1", "branch2b2")[: 3 if stage > 5 else 2]
            for branch in branches:
                names[f"{ours}.conv_{branch}.weight"] = f"arg:res{theirs}_{branch}_weight"
                for part, text in norm.items():
                    names[f"{ours}.bn_{branch}.{part}"] = text.format(f"bn{theirs}_{branch}")
            if block == 0:
                names[f"{ours}.conv_branch1.weight"] = f"arg:res{theirs}_branch1_weight"
    counted = {n for n in network.state_dict() if not n.endswith("num_batches_tracked")}
    assert set(names) == counted
    return names


@pytest.fixture
def small(monkeypatch) -> ResNet38d:
    """Makes the converter want a narrow network."""
    torch.manual_seed(0)
    network = ResNet38d(0.02)
    monkeypatch.setattr(converter, "ResNet38d", lambda: ResNet38d(0.02))
    return network


def write(path: Path, network: ResNet38d, **changes: np.ndarray | None) -> None:
    state = network.state_dict()
    arrays = {theirs: state[ours].numpy() for ours, theirs in published_names(network).items()}
    arrays["arg:linear1000_weight"] = np.zeros((1000, 4), np.float32)
    arrays |= {name: value for name, value in changes.items() if value is not None}
    arrays = {n: a for n, a in arrays.items() if changes.get(n, a) is not None}
    path.write_bytes(file_bytes(arrays, "V1"))


def test_the_converted_file_is_the_network(tmp_path, small) -> None:
    write(tmp_path / "a1.params", small)
    out = tmp_path / "out.safetensors"
    ended = CliRunner().invoke(app, ["convert", "resnet38d", str(tmp_path / "a1.params"), str(out)])
    assert ended.exit_code == 0, ended
    found = load_file(out)
    own = small.state_dict()
    assert set(found) == set(own)
    assert all(found[name].equal(own[name]) for name in own)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("arg:bn7_gamma", None, "misses bn7.weight"),
        ("arg:bn7_gamma", np.zeros(3, np.float32), r"'arg:bn7_gamma' is of shape \(3,\)"),
        ("arg:res9a_branch1_weight", np.zeros(3, np.float32), "no part of the network"),
        ("arg:bn2a_branch2a_moving_gold", np.zeros(3, np.float32), "no part of the network"),
    ],
)
def test_other_networks_are_refused(tmp_path, small, name, value, message) -> None:
    write(tmp_path / "a1.params", small, **{name: value})
    with pytest.raises(WeightsError, match=message):
        converter.convert_resnet38d(tmp_path / "a1.params")


def test_the_command_says_what_is_wrong(tmp_path) -> None:
    def error(*words: object) -> BaseException | None:
        return CliRunner().invoke(app, ["convert", "resnet38d", *map(str, words)]).exception

    missing = error(tmp_path / "none.params", tmp_path / "x.safetensors")
    assert isinstance(missing, WeightsError) and "No such file" in str(missing)
    other = error(tmp_path / "none.params", tmp_path / "x.pth")
    assert isinstance(other, OutputError) and "'.pth'" in str(other)


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path, small) -> None:
    write(tmp_path / "a1.params", small)
    words = [
        "convert",
        "resnet38d",
        str(tmp_path / "a1.params"),
        str(tmp_path / "no/x.safetensors"),
    ]
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, OutputError) and "cannot be written" in str(error)
