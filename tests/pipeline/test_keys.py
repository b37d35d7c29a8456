import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from histoweak.config import StrictConfig
from histoweak.pipeline.keys import decisive_values, stage_key, stage_keys
from histoweak.pipeline.stage import Stage, check_order

NOT_DECISIVE = {"affects_result": False}


class Inner(StrictConfig):
    rate: float = 0.1
    workers: int = Field(default=0, json_schema_extra=NOT_DECISIVE)


class Config(StrictConfig):
    steps: int = 10
    name: str = "adam"
    weights: dict[str, float] = Field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    tags: frozenset[str] = frozenset()
    optional: Inner | None = None
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    device: str = Field(default="cpu", json_schema_extra=NOT_DECISIVE)
    logging: Inner = Field(default=Inner(), json_schema_extra=NOT_DECISIVE)


def key(config: StrictConfig, **changes: Any) -> str:
    made: dict[str, Any] = {"name": "a", "config": config, "inputs": (), "run": print}
    return stage_key(Stage(**made | changes), 0, [], "digest")


inners = st.builds(Inner, rate=st.floats(allow_nan=False))
decisive = st.fixed_dictionaries(
    {
        "steps": st.integers(),
        "name": st.text(),
        "weights": st.dictionaries(st.text(), st.floats(allow_nan=False), max_size=4),
        "sizes": st.lists(st.integers(), max_size=4).map(tuple),
        "tags": st.frozensets(st.text(), max_size=4),
        "optional": st.none() | inners,
        "inner": inners,
        "inners": st.lists(inners, max_size=3).map(tuple),
    }
)


def spelled(values: dict[str, Any]) -> str:
    """Text that is equal for equal values; unlike ==, tells 0.0 from -0.0."""
    lists = {
        name: sorted(value.items() if isinstance(value, dict) else value)
        for name, value in values.items()
        if isinstance(value, dict | frozenset)
    }
    return repr(sorted((values | lists).items()))


@given(decisive, decisive)
def test_keys_are_equal_exactly_when_configs_are(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert (key(Config(**a)) == key(Config(**b))) == (spelled(a) == spelled(b))


@given(decisive, st.data())
def test_any_change_changes_the_key(values: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(values)))
    other = data.draw(decisive.map(lambda drawn: drawn[name]))
    changed = values | {name: other}
    assert (key(Config(**values)) == key(Config(**changed))) == (
        spelled(values) == spelled(changed)
    )


@given(decisive, st.randoms(use_true_random=False))
def test_order_of_mappings_does_not_matter(values: dict[str, Any], random: Any) -> None:
    def shuffled(mapping: dict[str, Any]) -> dict[str, Any]:
        items = list(mapping.items())
        random.shuffle(items)
        return dict(items)

    other = shuffled(values | {"weights": shuffled(values["weights"])})
    assert key(Config(**values)) == key(Config(**other))


@given(decisive, st.text(), st.integers(), st.integers())
def test_fields_that_do_not_affect_the_result_are_left_out(
    values: dict[str, Any], device: str, workers: int, deeper: int
) -> None:
    config = Config(**values)
    changed = config.model_copy(
        update={
            "device": device,
            "logging": Inner(rate=workers),
            "inner": config.inner.model_copy(update={"workers": workers}),
            "inners": tuple(i.model_copy(update={"workers": deeper}) for i in config.inners),
        }
    )
    assert key(config) == key(changed)


def test_the_key_is_the_hash_of_what_decides() -> None:
    parts = (
        '{"config":{"rate":0.5},"data":"digest","inputs":["k1","k2"],'
        '"name":"a","seed":7,"version":2}'
    )
    stage = Stage("a", Inner(rate=0.5), (), print, version=2)
    assert stage_key(stage, 7, ["k2", "k1"], "digest") == hashlib.sha256(parts.encode()).hexdigest()


def test_each_part_counts() -> None:
    base = key(Inner())
    assert base != key(Inner(), name="b")
    assert base != key(Inner(), version=2)
    stage = Stage("a", Inner(), (), print)
    assert base == stage_key(stage, 0, [], "digest")
    assert base != stage_key(stage, 1, [], "digest")
    assert base != stage_key(stage, 0, ["k"], "digest")
    assert base != stage_key(stage, 0, [], "other")
    free = Stage("a", Inner(), (), print, uses_data=False)
    assert stage_key(free, 0, [], "digest") == stage_key(free, 0, [], "other")


def test_a_change_reaches_later_stages_only() -> None:
    def keys(rate: float) -> dict[str, str]:
        stages = [
            Stage("first", Inner(), (), print),
            Stage("second", Inner(rate=rate), ("first",), print),
            Stage("third", Inner(), ("second",), print),
            Stage("aside", Inner(), ("first",), print),
        ]
        return stage_keys(stages, 0, "digest")

    before, after = keys(0.1), keys(0.2)
    assert {name for name in before if before[name] != after[name]} == {"second", "third"}


def test_a_set_has_the_same_key_in_every_process() -> None:
    program = (
        "from tests.pipeline.test_keys import Config, key;"
        "print(key(Config(tags=frozenset('abcdefgh'))))"
    )
    root = Path(__file__).parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_values_without_one_text_form_are_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        decisive_values([object()])


def test_paths_and_specials_become_text() -> None:
    plain = decisive_values({"p": Path("a/b"), "inf": float("inf")})
    assert json.dumps(plain) == '{"p": "a/b", "inf": Infinity}'


def test_stage_names_and_order_are_checked() -> None:
    for name in ("", "A", "a/b", "..", "a b"):
        with pytest.raises(ValueError, match="stage name"):
            Stage(name, Inner(), (), print)
    a, b = Stage("a", Inner(), (), print), Stage("b", Inner(), ("a",), print)
    check_order([a, b])
    with pytest.raises(ValueError, match="no earlier stage"):
        check_order([b, a])
    with pytest.raises(ValueError, match="two stages"):
        check_order([a, a])
