from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from histoweak.config import StrictConfig, build_config, merge, parse_setting, read_yaml
from histoweak.errors import ConfigError


class Optim(StrictConfig):
    learning_rate: float = Field(0.1, gt=0)
    momentum: float = 0.9


class Other(StrictConfig):
    kind: Literal["other"] = "other"
    weight: float = 1.0


class Top(StrictConfig):
    optim: Optim = Optim()
    second: Optim | None = None
    many: tuple[Optim, ...] = ()
    named: dict[str, Optim] = {}  # noqa: RUF012 (pydantic copies defaults)
    noted: Annotated[Optim, Field(description="noted")] = Optim()
    either: Optim | Other = Optim()
    fast: Optim | None = Optim(learning_rate=5.0, momentum=0.5)
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _in_order(self) -> "Top":
        if self.low > self.high:
            raise ValueError("low lies above high")
        return self


class Above(StrictConfig):
    top: Top = Top(fast=Optim(learning_rate=7.0), either=Optim(momentum=0.3), low=-1)


def refusal(values, model=Top) -> str:
    with pytest.raises(ConfigError) as caught:
        build_config(model, values, "file.yaml")
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_values_are_validated_and_frozen() -> None:
    config = build_config(Top, {"optim": {"learning_rate": 1}, "many": [{}]}, "x")
    assert config.optim.learning_rate == 1.0 and config.many == (Optim(),)
    with pytest.raises(ValidationError):
        config.low = 3


@pytest.mark.parametrize(
    ("values", "path", "nearest"),
    [
        ({"optimm": {}}, "optimm", "optim"),
        ({"optim": {"learning_rat": 1}}, "optim.learning_rat", "learning_rate"),
        ({"second": {"momentun": 1}}, "second.momentun", "momentum"),
        ({"many": [{}, {"momentun": 1}]}, "many.1.momentun", "momentum"),
        ({"named": {"a": {"momentun": 1}}}, "named.a.momentun", "momentum"),
        ({"noted": {"momentun": 1}}, "noted.momentun", "momentum"),
    ],
)
def test_an_unknown_key_names_its_place_and_the_nearest(values, path, nearest) -> None:
    message = refusal(values)
    assert f"unknown key '{path}'" in message and f"Did you mean {nearest!r}?" in message
    assert message.startswith("file.yaml: ")


def test_an_unknown_key_like_no_other_lists_those_that_are_known_there() -> None:
    assert "Known here: learning_rate, momentum" in refusal({"second": {"xyzzy": 1}})
    # A union: all that any of its choices knows.
    message = refusal({"either": {"xyzzy": 1}})
    assert "learning_rate" in message and "weight" in message


@pytest.mark.parametrize(
    ("values", "rate", "momentum"),
    [
        ({}, 7.0, 0.9),
        ({"high": 3}, 7.0, 0.9),
        ({"fast": {"momentum": 0.1}}, 7.0, 0.1),
        ({"fast": {"learning_rate": 1}}, 1.0, 0.9),
        ({"fast": {}}, 7.0, 0.9),
    ],
)
def test_a_nested_key_leaves_its_siblings_at_the_defaults_of_the_whole(
    values, rate, momentum
) -> None:
    built = build_config(Above, {"top": values}, "x").top
    assert built.fast == Optim(learning_rate=rate, momentum=momentum) and built.low == -1


def test_null_takes_a_section_out_and_one_that_is_null_starts_from_its_class() -> None:
    built = build_config(Top, {"fast": None, "second": {"momentum": 0.2}}, "x")
    assert built.fast is None and built.second == Optim(learning_rate=0.1, momentum=0.2)
    # A mapping for a union may mean another choice than the default.
    other = build_config(Above, {"top": {"either": {"kind": "other"}}}, "x")
    assert other.top.either == Other()


def test_a_bad_value_names_place_value_and_reason() -> None:
    message = refusal({"optim": {"learning_rate": -2}})
    assert "optim.learning_rate = -2: Input should be greater than 0" in message


def test_a_rule_over_several_fields_gives_only_its_reason() -> None:
    message = refusal({"low": 3, "high": 2})
    assert message.startswith("file.yaml: Value error, low lies above high.")


def test_what_is_no_mapping_is_refused() -> None:
    assert refusal([1, 2]).startswith("file.yaml: Input should be a valid dictionary")


def test_yaml_is_read(tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("optim: {learning_rate: 1.0e-3}\nlow: 1\n", encoding="utf-8")
    assert read_yaml(path) == {"optim": {"learning_rate": 0.001}, "low": 1}
    path.write_text("# nothing yet\n", encoding="utf-8")
    assert read_yaml(path) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"- 1\n- 2\n",
        b"text",
        b"a: [1",
        b"a: \xff\xfe",
        b"a: !!python/object/apply:os.system ['true']",
        b"a: 2020-99-99",
        b"a: !!int b",
        b"a: !!float b",
        b"a: " + b"[" * 600,
        b"a: 1\n" * 200_001,
        b"\x00",
    ],
)
def test_a_damaged_yaml_file_is_refused(tmp_path, content) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        read_yaml(path)


def test_a_missing_yaml_file_and_a_folder_are_refused(tmp_path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_yaml(path)


def test_aliases_cannot_make_a_message_longer_than_memory(tmp_path) -> None:
    # Each level repeats the last nine times: 9 ** 40 letters, were they written out.
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    path = tmp_path / "c.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert len(refusal({"low": read_yaml(path)["a39"]})) < 2000
    path.write_text("low: &x {low: *x}", encoding="utf-8")
    assert len(refusal(read_yaml(path))) < 2000


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("low=3", {"low": 3}),
        ("optim.learning_rate=1e-3", {"optim": {"learning_rate": 0.001}}),
        (" optim.learning_rate =1e-3", {"optim": {"learning_rate": 0.001}}),
        ("a.b.c=[1, 2]", {"a": {"b": {"c": [1, 2]}}}),
        ("a={b: 1}", {"a": {"b": 1}}),
        ("a=null", {"a": None}),
        ("a=", {"a": None}),
        ("a=true", {"a": True}),
        ("a=b=c", {"a": "b=c"}),
        ("a=hf-hub:x/y", {"a": "hf-hub:x/y"}),
        ("a=[1", {"a": "[1"}),
        ("a=2020-99-99", {"a": "2020-99-99"}),
        ("a=" + "[" * 600, {"a": "[" * 600}),
    ],
)
def test_a_setting_becomes_nested_values(text, values) -> None:
    assert parse_setting(text) == values


@pytest.mark.parametrize("text", ["", "low", "=3", "  =3"])
def test_what_is_no_setting_is_refused(text) -> None:
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_setting(text)


@settings(deadline=None)
@given(st.floats(allow_nan=False))
def test_any_number_can_be_set(number) -> None:
    assert parse_setting(f"a={number!r}") == {"a": number}


leaves = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers()))
trees = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(leaves, lambda t: st.dictionaries(st.sampled_from("abc"), t), max_leaves=6),
)


def paths(tree, prefix=()):
    """Every leaf by its path; an empty mapping is a leaf."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= paths(value, (*prefix, key))
        else:
            found[(*prefix, key)] = value
    return found


@settings(deadline=None, max_examples=50)
@given(trees, trees)
def test_the_later_layer_wins_leaf_by_leaf(first, second) -> None:
    before = yaml.safe_dump([first, second])
    result = paths(merge([first, second]))
    later = {p: v for p, v in paths(second).items() if v != {}}
    for path, value in later.items():
        assert result[path] == value
    for path, value in paths(first).items():
        # A leaf stays unless the later layer says something at, above or below its place.
        touched = any(p[: len(path)] == path or path[: len(p)] == p for p in paths(second))
        if not touched:
            assert result[path] == value
    assert yaml.safe_dump([first, second]) == before


def test_merging_nothing_is_nothing() -> None:
    assert merge([]) == {} and merge([{"a": {"b": 1}}, {}]) == {"a": {"b": 1}}
