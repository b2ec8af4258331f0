"""From a name or a YAML file, and ``key=value`` overrides, to a checked recipe."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from unlabeled.core import run_files
from unlabeled.core.errors import UserError, nearest

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
MAX_BYTES = 1_000_000
ELSEWHERE = {
    "learning_rate": "optimizer.lr", "base_lr": "optimizer.lr", "wd": "optimizer.weight_decay", "bs": "batch_size",
    "num_epochs": "epochs", "max_epochs": "epochs", "n_epochs": "epochs", "img_size": "data.size",
    "image_size": "data.size", "input_size": "data.size", "resolution": "data.size", "in_chans": "data.channels",
    "arch": "backbone", "architecture": "backbone", "model": "backbone", "dataset": "data.name", "path": "data.name",
    "random_seed": "seed", "gpus": "hardware.devices", "num_gpus": "hardware.devices", "fp16": "hardware.precision",
    "amp": "hardware.precision", "tau": "method.temperature", "augmentations": "views", "transforms": "views",
    "checkpoint": "backbone.weights", "pretrained": "backbone.weights", "weights": "backbone.weights",
}  # fmt: skip
"""What other projects call our settings."""


def builtin_recipes() -> dict[str, Path]:
    """Names and files of the recipes that come with the package."""
    folder = Path(str(files("unlabeled.recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def summary(path: Path) -> str:
    """The comment line at the head of a recipe file."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def read_recipe(source: str | Path) -> tuple[dict[str, Any], str]:
    """The raw mapping of a built-in name, a YAML file, or a run folder, and where it came from."""
    known = builtin_recipes()
    text = str(source)
    if text in known:
        path = known[text]
    else:
        path = Path(text).expanduser()
        if path.is_dir() and (path / run_files.RECIPE).is_file():
            path = path / run_files.RECIPE
        elif path.is_dir():
            raise UserError(f"{path} is a folder without a recipe.yaml; name a recipe, a YAML file or a run folder.")
        elif not path.is_file():
            raise UserError(f"there is no recipe '{text}'.{nearest(text, known)} See: unlabeled recipes")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than a recipe can be; is it the right file?")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise UserError(f"{path}{where} is not valid YAML ({problem}).") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a recipe: it must be a YAML mapping with keys such as 'method' and 'epochs'.")
    return content, f"recipe {text}" if text in known else str(path)


def parse_value(text: str) -> Any:
    """Read the value of ``key=value`` as YAML, and ``1e-3`` as the number it is (YAML 1.1 calls it a string)."""
    try:
        value = yaml.safe_load(text) if text else None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"the value '{text}' cannot be read; write key=value, lists as key=[1,2].") from error
    if isinstance(value, str) and " #" in text and text[0] not in "'\"":
        return text  # a folder's name, where YAML sees a comment
    return _numbers(value)


def _numbers(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, list):
        return [_numbers(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _numbers(entry) for key, entry in value.items()}
    return value


def apply_overrides(content: dict[str, Any], overrides: Iterable[str], texts: Container[str] = ()) -> dict[str, Any]:
    """Set dotted paths in a copy of a raw recipe: ``optimizer.lr=0.3``, ``data=cifar10``, ``views.0.blur=0.5``.

    Args:
        content: the raw recipe.
        overrides: ``key=value``; values are read as YAML, but for
        texts: the settings that are always text: a folder may be called ``2024``, ``yes`` or ``scan: left``.
    """
    settings = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise UserError(
                f"'{override}' is not an override; write key=value, for instance epochs=20 or optimizer.lr=0.3."
            )
        settings[path] = _text(text) if path in texts else parse_value(text)
    return apply_settings(content, settings)


def apply_settings(content: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Set dotted paths in a copy of a raw recipe to values that need no reading.

    A plain string for ``data`` or ``backbone`` sets its name and keeps the other settings. A new ``backbone.name``
    drops the recipe's arguments of the old one, all but the stride or patch size that fits the images.
    """
    content = yaml.safe_load(yaml.safe_dump(content))
    # a new name comes first: it drops what the recipe says of the old one, never what is said beside it
    for path, value in sorted(settings.items(), key=lambda item: item[0] not in ("backbone", "backbone.name")):
        keys = path.split(".")
        node: Any = content
        for number, key in enumerate(keys[:-1]):
            node = _enter(node, key, ".".join(keys[: number + 1]))
        _set(node, keys[-1], path, value)
    return content


def _set(node: Any, last: str, path: str, value: Any) -> None:
    if isinstance(node, list):
        node[_position(node, last, path)] = value
        return
    if path in ("data", "backbone") and isinstance(value, str):
        node, last, path = _enter(node, path, path), "name", f"{path}.name"
    if path == "backbone.name" and value != node.get("name"):
        # stem_stride is for the networks that we made ourselves, width and depth are another network's
        fits = ("stem_stride", "patch_size") if _is_small(value) == _is_small(node.get("name")) else ()
        old = node.get("args")
        node["args"] = {key: old[key] for key in fits if key in old} if isinstance(old, dict) else {}
    node[last] = value


def _text(text: str) -> str | None:
    """A setting that is text, as it stands; ``null`` and nothing at all are nothing, quotes and braces are YAML's."""
    if text in ("", "null", "~"):
        return None
    if text[0] == "{" or (len(text) > 1 and text[0] == text[-1] and text[0] in "'\""):
        value: str | None = parse_value(text)
        return value
    return text


def _is_small(backbone: Any) -> bool:
    return str(backbone).endswith("_small")


def _enter(node: Any, key: str, path: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, key, path)]
    child = node.get(key)
    if isinstance(child, str) and path in ("data", "backbone", "method"):
        child = {"name": child}
    if child is None:
        child = {}
    if not isinstance(child, dict | list):
        raise UserError(f"'{path}' is a single value ({child!r}), it has nothing inside to override.")
    node[key] = child
    return child


def _position(node: Sequence[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise UserError(f"'{path}': '{key}' is not a position in a list of {len(node)} (counted from 0).")
    return int(key)


def explain(
    error: ValidationError, model: type[BaseModel], where: str, method: type[BaseModel] | None = None
) -> UserError:
    """Turn pydantic's report into one line: which key, what is wrong, what was probably meant.

    Args:
        error: pydantic's report.
        model: the schema that was broken.
        where: what the user has to edit, named first.
        method: the settings class that stands under the key ``method``.
    """
    first = next((e for e in error.errors() if e["type"] == "extra_forbidden"), error.errors()[0])
    path = ".".join(str(part) for part in first["loc"])
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        parent = _model_at(model, first["loc"][:-1], method)
        known = list(parent.model_fields) if parent else []
        prefix = path.rpartition(".")[0]
        known = [f"{prefix}.{name}" if prefix else name for name in known]
        inside = {} if prefix else _inside(model, method)
        close = get_close_matches(path, [*known, *inside], n=1, cutoff=0.5)
        theirs = path.rpartition(".")[2]
        if theirs not in inside and (ours := called(theirs, model, method)):
            return UserError(f"{where}: unknown key '{path}'. Did you mean '{ours}'?{more}")
        meant = f" Did you mean '{inside[close[0]]}'?" if close and close[0] not in known else nearest(path, known)
        return UserError(f"{where}: unknown key '{path}'.{meant}{more}")
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    plain = isinstance(given, str | int | float | bool | None) and first["type"] != "value_error"
    shown = f", not {given!r}" if plain and path else ""
    return UserError(
        f"{where}: {path + ': ' if path else ''}{message[:1].lower()}{message[1:]}{shown}{more}".rstrip(".")
    )


def called(theirs: str, model: type[BaseModel], method: type[BaseModel] | None = None) -> str | None:
    """The dotted path of the setting that other projects call ``theirs``; ``None`` where there is no such setting.

    >>> from unlabeled.recipes.schema import Recipe
    >>> called("learning_rate", Recipe)
    'optimizer.lr'
    """
    ours = ELSEWHERE.get(theirs, "")
    known = paths(model, method)
    # the settings of a method of forgetting stand in no section: its rate is plain lr
    return next((path for path in (ours, ours.rpartition(".")[2]) if path in known), None)


def paths(model: type[BaseModel], method: type[BaseModel] | None = None) -> list[str]:
    """The dotted paths of all settings, those at the top first."""
    found = list(model.model_fields)
    for key, field in model.model_fields.items():
        parts = [method] if key == "method" and method else _types(field.annotation)
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                found += [f"{key}.{name}" for name in part.model_fields]
    return found


def _inside(model: type[BaseModel], method: type[BaseModel] | None) -> dict[str, str]:
    """The settings one level deeper, by their bare names: ``lr`` is ``optimizer.lr``."""
    return {path.partition(".")[2]: path for path in reversed(paths(model, method)) if "." in path}


def _model_at(model: type[BaseModel], path: Sequence[Any], method: type[BaseModel] | None) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for key in path:
        if found is None or isinstance(key, int):
            continue
        field = found.model_fields.get(str(key))
        inside = (
            [t for t in _types(field.annotation) if isinstance(t, type) and issubclass(t, BaseModel)] if field else []
        )
        found = method if key == "method" else next(iter(inside), None)
    return found


def _types(annotation: Any) -> list[Any]:
    inside = getattr(annotation, "__args__", ())
    return [annotation, *(t for part in inside for t in _types(part))]
