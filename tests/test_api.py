from importlib.resources import files

import pytest
import yaml
from pydantic import TypeAdapter

from histoweak.api import configure
from histoweak.classes import ClassSet
from histoweak.config import build_config
from histoweak.errors import ConfigError
from histoweak.methods import METHODS, find_method
from histoweak.pipeline.stage import check_order
from histoweak.pretraining import PretrainingConfig
from histoweak.recipes import list_recipes, read_recipe
from histoweak.refine.config import Chain

NAMED = {
    "published": ("G.O", "G.N", "T", "A.W", "A.B", "A.M"),
    "published-morphological": ("A.W", "A.B", "A.M"),
    "published-glas": ("other", "gland"),
}
"""Classes that recipes of `histosegnet` name; others take any, of which one is `normal`."""
RECIPES = [(method, recipe) for method in METHODS for recipe in list_recipes(method)]


def paths(tree: dict, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    found: dict[tuple[str, ...], object] = {}
    for key, value in tree.items():
        found |= (
            paths(value, (*prefix, key)) if isinstance(value, dict) else {(*prefix, key): value}
        )
    return found


@pytest.mark.parametrize(("method", "recipe"), RECIPES)
def test_every_shipped_recipe_says_what_it_means(method, recipe, tmp_path) -> None:
    """Each of its values is in the configuration, and the stages are in an order that works."""
    # The maps of another program, which no recipe can know.
    folder = {"pseudo_masks": {"background": {"folder": str(tmp_path)}}}
    config = configure(method, recipe, [folder] if (method, recipe) == ("drs", "published") else [])
    dumped = paths(config.model_dump(mode="json"))
    for path, value in paths(read_recipe(method, recipe)).items():
        if path[-1] == "refine":
            chain = TypeAdapter(Chain)
            value = chain.dump_python(chain.validate_python(value), mode="json")
        assert dumped[path] == value
    names = NAMED.get(recipe) if method == "histosegnet" else None
    stages = find_method(method).load().build(config, ClassSet(names or ("normal", "tumour")))
    check_order(stages)
    assert stages[-1].name == "evaluation"


def test_every_recipe_file_belongs_to_a_method() -> None:
    root = files("histoweak.recipes")
    folders = {f.name for f in root.iterdir() if f.is_dir() and not f.name.startswith("_")}
    assert folders <= {*METHODS, "pretrain"}
    shipped = {(d, f.name) for d in folders & METHODS.keys() for f in (root / d).iterdir()}
    assert {(m, f"{r}.yaml") for m, r in RECIPES if r != "default"} == shipped
    for recipe in list_recipes("pretrain"):
        build_config(PretrainingConfig, read_recipe("pretrain", recipe), recipe)


def test_settings_win_over_the_recipe_layer_by_layer() -> None:
    plain = configure("vgg-cam", "published").model_dump()
    layers = [{"segmenter": {"crop": 96, "bootstrap": 0.1}}, {"segmenter": {"crop": 160}}]
    changed = configure("vgg-cam", "published", layers).model_dump()
    assert changed["segmenter"].pop("crop") == 160
    assert changed["segmenter"].pop("bootstrap") == 0.1
    assert plain["segmenter"].pop("crop") == 224 and plain["segmenter"].pop("bootstrap") == 0
    assert changed == plain


@pytest.mark.parametrize(
    "model", [*(find_method(m).load().Config for m in METHODS), PretrainingConfig]
)
def test_one_nested_key_leaves_all_others_at_the_defaults(model) -> None:
    whole = model()
    for path, value in paths(whole.model_dump()).items():
        for key in reversed(path):
            value = {key: value}
        assert model.model_validate(value) == whole, path


def test_a_key_of_a_section_with_defaults_of_its_own_changes_nothing_else() -> None:
    config = configure("hisynseg", settings=[{"authenticity": {"fit": {"steps": 7}}}])
    fit = config.model_dump()["authenticity"]["fit"]
    assert (fit["steps"], fit["batch"], fit["optim"]["schedule"]) == (7, 32, "constant")


def test_optional_parts_are_set_by_what_they_hold() -> None:
    config = configure("vgg-cam", settings=[{"self_training": {"teacher": {"threshold": 0.8}}}])
    assert config.model_dump()["self_training"]["teacher"]["threshold"] == 0.8
    assert configure("vgg-cam").model_dump()["self_training"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"segmentr": {}}, r"'segmentr'.*'segmenter'"),
        (
            {"classifier": {"fit": {"optim": {"learning": 1}}}},
            r"'classifier\.fit\.optim\.learning'",
        ),
        ({"self_training": {"teachr": {}}}, r"'self_training\.teachr'.*'teacher'"),
        ({"self_training": {"teacher": {"treshold": 1}}}, r"teacher\.treshold'.*'threshold'"),
        ({"classifier": {"fit": {"steps": 0}}}, r"classifier\.fit\.steps = 0"),
        ({"classifier": {"crop": 100}}, r"classifier\.crop = 100"),
        ({"classifier": {"net": {"strides": []}}}, r"strides"),
    ],
)
def test_wrong_settings_are_named(settings, message) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        configure("vgg-cam", settings=[settings])
    assert "vgg-cam (default)" in str(caught.value)


def test_unknown_methods_and_recipes_name_what_there_is() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'vgg-cam'"):
        configure("vgg_cam")
    with pytest.raises(ConfigError, match=r"zzz.*vgg-cam, .*supervised"):
        configure("zzz")
    with pytest.raises(ConfigError, match=r"no recipe 'publishd'.*default, .*published"):
        configure("vgg-cam", "publishd")
    for outside in ("../vgg-cam/published", "", "__init__"):
        with pytest.raises(ConfigError, match="no recipe"):
            read_recipe("supervised", outside)


def test_only_full_supervision_reads_masks() -> None:
    assert [name for name, spec in METHODS.items() if spec.pixel_supervision] == ["supervised"]
    for spec in METHODS.values():
        assert spec.title and spec.paper


def test_recipes_are_yaml_that_says_why() -> None:
    root = files("histoweak.recipes")
    for method, recipe in RECIPES:
        if recipe != "default":
            text = (root / method / f"{recipe}.yaml").read_text(encoding="utf-8")
            assert text.startswith("# ") and isinstance(yaml.safe_load(text), dict)
