"""Recipes: every built-in one is valid; overrides reach every field; mistakes are named with the nearest right name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from unlabeled.core.errors import UserError
from unlabeled.forgetting.methods import forgetter_class
from unlabeled.recipes.load import apply_overrides, builtin_recipes, explain, parse_value, read_recipe, summary
from unlabeled.recipes.resolve import check_recipe, load_recipe, recipe_yaml
from unlabeled.runs.folder import same_recipe


@pytest.mark.parametrize("name", list(builtin_recipes()))
def test_builtin_recipes_are_valid_and_round_trip(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert summary(builtin_recipes()[name])
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(recipe))
    assert load_recipe(path) == recipe


def test_overrides_reach_every_kind_of_field() -> None:
    recipe = load_recipe(
        "simclr",
        [
            "data=cifar10",
            "data.size=32",
            "backbone.name=resnet18",
            "optimizer.lr=1e-1",
            "optimizer.betas=[0.9, 0.95]",
            "epochs=3",
            "method.temperature=0.2",
            "views.0.scale=[0.2, 1.0]",
            "hardware.compile=true",
            "optimizer.clip=null",
        ],
    )
    assert (recipe.data.name, recipe.data.size) == ("cifar10", 32)
    assert recipe.backbone.name == "resnet18"
    assert recipe.optimizer.lr == 0.1
    assert recipe.optimizer.betas == (0.9, 0.95)
    assert recipe.method.model_dump()["temperature"] == 0.2
    assert recipe.views[0].scale == (0.2, 1.0)
    assert recipe.hardware.compile


def test_another_kind_of_backbone_does_not_get_the_arguments_of_a_small_one() -> None:
    assert load_recipe("simclr", ["backbone=resnet18"]).backbone.args == {}
    assert load_recipe("simclr", ["backbone=resnet18_small"]).backbone.args == {"stem_stride": 2}
    assert load_recipe("simclr", ["backbone.name=resnet18"]).backbone.args == {}
    assert load_recipe("simclr", ["backbone.name=resnet18_small"]).backbone.args == {"stem_stride": 2}
    assert load_recipe("mae", ["backbone.name=vit_small_patch16_224"]).backbone.args == {"patch_size": 4}
    own = load_recipe("simclr", ["backbone.args={patch_size: 4}", "backbone.name=vit_tiny_patch16_224"]).backbone
    assert own.args == {"patch_size": 4}
    more = load_recipe("simclr", ["backbone.args.drop_path_rate=0.1", "backbone=resnet18"]).backbone
    assert more.args == {"drop_path_rate": 0.1}


def test_a_batch_is_split_only_where_the_loss_allows_it() -> None:
    assert load_recipe("simclr", ["optimizer.accumulate=2"]).optimizer.accumulate == 2
    with pytest.raises(UserError, match="'distill' needs the whole batch at once"):
        load_recipe("distill", ["method.teacher=x", "optimizer.accumulate=2"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=3", "unknown key 'optimizer.lrr'. Did you mean 'optimizer.lr'?"),
        ("metod.x=1", "unknown key 'metod'. Did you mean 'method'?"),
        ("logger=wandb", "unknown key 'logger'. Did you mean 'output.logger'?"),
        ("temperatur=1", "unknown key 'temperatur'. Did you mean 'method.temperature'?"),
        ("method.temprature=1", "unknown key 'method.temprature'. Did you mean 'method.temperature'?"),
        ("views.0.sclae=[1,2]", "unknown key 'views.0.sclae'. Did you mean 'views.0.scale'?"),
        ("method=simclx", "unknown method 'simclx'. Did you mean 'simclr'?"),
        ("epochs=abc", "epochs: input should be a valid integer, not 'abc'"),
        ("epochs=-1", "epochs: input should be greater than or equal to 0"),
        ("batch_size=2.5", "batch_size: input should be a valid integer"),
        ("optimizer.name=sdg", "optimizer.name: input should be 'sgd', 'lars', 'adam' or 'adamw', not 'sdg'"),
        ("optimizer.lr=.nan", "optimizer.lr: input should be a finite number"),
        ("views.0.scale=[0,2]", "scale must be [low, high] with 0 < low <= high"),
        ("views.3.flip=1", "not a position in a list of 1"),
        ("views=[]", "views: tuple should have at least 1 item"),
        ("epochs.x=1", "has nothing inside to override"),
        ("epochs", "is not an override; write key=value"),
        ("batch_size=[", "cannot be read"),
        ("schema_version=0", "schema_version 0 is not the one this version reads"),
        ("backbone.args={a: [2000-01-01]}", "backbone.args.a"),  # a date, which no run folder could give back
        ("hardware.devices=3", "cannot be shared out equally over 3 parts"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe("simclr", [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert ".yaml" not in str(error.value)  # what was typed is to be mended, not a file of the package


def test_unknown_recipes_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'simclr'"):
        load_recipe("simlcr")
    with pytest.raises(UserError, match="without a recipe"):
        load_recipe(tmp_path)
    for text, message in {
        "a: [1": "not valid YAML",
        "- 1": "must be a YAML mapping",
        "epochs: 1": "'method' is missing",
    }.items():
        path = tmp_path / "r.yaml"
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            load_recipe(path)


def test_yaml_never_builds_objects(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text(f"method: !!python/object/apply:os.system ['touch {tmp_path}/owned']")
    with pytest.raises(UserError, match="not valid YAML"):
        load_recipe(path)
    assert not (tmp_path / "owned").exists()


def test_same_recipe_ignores_where_it_runs() -> None:
    one = load_recipe("simclr")
    assert same_recipe(one, load_recipe("simclr", ["hardware.devices=2", "output.log_every=5"])) is None
    assert same_recipe(one, load_recipe("simclr", ["optimizer.lr=0.1"])) == "optimizer.lr"


def test_numbers_are_numbers() -> None:
    assert parse_value("1e-3") == 0.001
    assert parse_value("[1e2, a]") == [100.0, "a"]
    assert parse_value("yes please") == "yes please"


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers(), max_size=3)
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(builtin_recipes())), st.data())
def test_mutated_recipes_are_accepted_or_refused_in_one_line(name: str, data: st.DataObject) -> None:
    content, _ = read_recipe(name)
    content = yaml.safe_load(yaml.safe_dump(content))
    node = content
    for _ in range(data.draw(st.integers(0, 2))):
        inner = [value for value in node.values() if isinstance(value, dict)]
        if inner:
            node = data.draw(st.sampled_from(inner))
    key = data.draw(st.sampled_from(sorted(node)) | st.text(max_size=6))
    node[key] = data.draw(LEAVES | st.dictionaries(st.text(max_size=4), LEAVES, max_size=2))
    message = ""
    try:
        check_recipe(content, "recipe")
    except UserError as error:
        message = str(error)
    assert "\n" not in message


def test_overriding_leaves_the_source_alone() -> None:
    content = {"optimizer": {"lr": 1.0}}
    assert apply_overrides(content, ["optimizer.lr=2"])["optimizer"]["lr"] == 2
    assert content == {"optimizer": {"lr": 1.0}}


@pytest.mark.parametrize(
    "name", ["2024", "yes", "null-island", "1e3", "scan: left", "a #b", "[x]", "run-😀", "- dash", "~/x"]
)
def test_names_are_text_whatever_yaml_would_make_of_them(name: str) -> None:
    assert load_recipe("simclr", [f"data={name}"]).data.name == name
    assert load_recipe("simclr", [f"backbone.weights={name}"]).backbone.weights == name
    assert load_recipe("simclr", settings={"backbone.weights": name}).backbone.weights == name


def test_text_can_be_quoted_and_taken_back() -> None:
    assert load_recipe("simclr", ["data='a b'"]).data.name == "a b"
    assert load_recipe("simclr", ["data={name: cifar10, size: 32}"]).data.size == 32
    assert load_recipe("simclr", ["data.dir=null"]).data.dir is None


def test_settings_are_typed_nested_or_dotted() -> None:
    recipe = load_recipe(
        "simclr", ["seed=4"], {"optimizer": {"lr": 0.1}, "data.size": 32, "seed": 3, "data": Path("x")}
    )
    assert (recipe.optimizer.lr, recipe.data.size, recipe.data.name, recipe.seed) == (0.1, 32, "x", 4)
    assert recipe.optimizer.name == "sgd"


@pytest.mark.parametrize(
    ("theirs", "ours"), [("learning_rate", "optimizer.lr"), ("img_size", "data.size"), ("arch", "backbone")]
)
def test_other_projects_words_are_understood_in_the_message(theirs: str, ours: str) -> None:
    with pytest.raises(UserError, match=f"Did you mean '{ours}'"):
        load_recipe("simclr", [f"{theirs}=1"])


def test_a_word_is_no_path_that_is_not_there() -> None:
    config = forgetter_class("negative_gradient").Config
    with pytest.raises(ValidationError) as found:
        config.model_validate({"learning_rate": 1.0})
    assert str(explain(found.value, config, "x")) == "x: unknown key 'learning_rate'. Did you mean 'lr'?"


def test_a_run_of_an_older_version_is_still_read(tmp_path: Path) -> None:
    content = yaml.safe_load(recipe_yaml(load_recipe("simclr")))
    content["hardware"]["strategy"] = "auto"  # was written into every run, and never read
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    assert load_recipe(tmp_path / "recipe.yaml") == load_recipe("simclr")
