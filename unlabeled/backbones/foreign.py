"""Files of other projects, read without running anything that is in them."""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import pickletools
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # Python 2's names, which torch's files still use
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from unlabeled.core.errors import UserError, first_line

WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
)  # fmt: skip
"""What the weights are called in a model's folder, the best first."""
PLAIN = (
    "argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict", "_codecs.encode",
    "copyreg._reconstructor", "pathlib", "datetime", "typing", "numpy", "omegaconf", "yacs", "easydict", "addict",
    "ml_collections", "mmengine", "mmcv", "fvcore.common.config", "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict", "pytorch_lightning.utilities.parsing.AttributeDict",
    *(f"builtins.{name}" for name in (
        "bool", "bytearray", "complex", "dict", "float", "frozenset", "int", "list", "object", "set", "str", "tuple",
    )),
)  # fmt: skip
"""Classes, and packages of classes, in which training scripts keep options and figures beside the weights."""
STREAMS = 4
"""Pickles at the beginning of torch's older file format; the weights' names and options are in the fourth."""


class _Options(OrderedDict[str, Any]):
    """Stands for a plain object of any class: what it held is kept as a dictionary or not at all."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


class _Value:
    """Stands for a plain value whose type is not built here (a numpy scalar, a date): it is not looked at."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def read_weights(path: str | Path) -> Any:
    """The content of a checkpoint: nested dictionaries with tensors in them.

    Safetensors and torch files are read, whole or in numbered parts with an index, and folders that hold them. Nothing
    in a file is executed: tensors and plain values are taken, options of known plain classes (``argparse.Namespace``,
    OmegaConf, numpy scalars, …) become inert stand-ins, anything else is refused.

    Args:
        path: a file, an ``*.index.json``, or a folder with one of :data:`WEIGHTS`.

    Raises:
        UserError: nothing is there, it cannot be read, or reading it would run code.
    """
    path = Path(path)
    if path.is_dir():
        found = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
        if found is None:
            raise UserError(f"{path} holds no weights; a model's folder has one of {', '.join(WEIGHTS)}.")
        path = found
    if not path.is_file():
        raise UserError(f"{path} is not a file; give a .safetensors, .pth, .pt or .ckpt file of weights, or a folder.")
    if path.name.endswith(".index.json"):
        return _parts(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_stand_ins(path)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({named[1].removeprefix('builtins.')})" if named else ""
        raise UserError(
            f"{path} holds more than tensors and plain values{what}, and reading those would run code; save its "
            "state_dict alone, best as safetensors."
        ) from error
    except Exception as error:  # a damaged pickle calls torch's own functions with whatever it holds
        reason = first_line(error)
        raise UserError(f"{path} cannot be read as weights ({reason}); download it again.") from error


def _parts(index: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint that was saved in parts (``model-00001-of-00003.safetensors``, …)."""
    try:
        places = {
            str(name): str(file) for name, file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index} is not an index of weights ({first_line(error)}); download it again.") from error
    files = sorted(set(places.values()))
    weights: dict[str, Tensor] = {}
    for name in files:
        part = index.parent / name
        if Path(name).name != name or name.endswith(".index.json"):
            raise UserError(f"{index} names '{name}', which is not a file beside it; download the model again.")
        if not part.is_file():
            raise UserError(f"{index}: the part {name} is not there ({len(files)} belong together); download it, too.")
        content = read_weights(part)
        if not isinstance(content, Mapping):
            raise UserError(f"{part} holds no tensors by name; download it again.")
        weights |= {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    absent = [name for name in places if name not in weights]
    if absent:
        raise UserError(f"{index} promises {len(absent)} tensors that no part holds, e.g. '{absent[0]}'.")
    return weights


def _stand_ins(path: Path) -> list[Any]:
    """Inert classes in the place of every plain class that a torch file names; their names are all they share."""
    found = []
    for module, name in sorted(_named(path)):
        if any(f"{module}.{name}" == plain or f"{module}.{name}".startswith(plain + ".") for plain in PLAIN):
            base = _Value if module.split(".")[0] in ("numpy", "datetime", "_codecs") else _Options
            found.append(type(name, (base,), {"__module__": module, "__qualname__": name}))
    return found


def _named(path: Path) -> set[tuple[str, str]]:
    """Every class and function, as (module, name), that the pickles of a torch file name."""
    found = set()
    # a damaged file fails in many ways; torch says of it what can be said
    with path.open("rb") as handle, contextlib.suppress(Exception):
        for stream in _pickles(handle):
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name == "GLOBAL" and isinstance(argument, str):
                    module, _, name = argument.partition(" ")
                    found.add(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))
    return found


def _pickles(handle: IO[bytes]) -> Iterator[IO[bytes]]:
    if not zipfile.is_zipfile(handle):
        handle.seek(0)
        yield from [handle] * STREAMS
        return
    with zipfile.ZipFile(handle) as archive:
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                with archive.open(name) as stream:
                    yield stream


def stated_normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that a folder of transformers states (``preprocessor_config.json``); empty where none does."""
    try:
        found = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        mean, std = (tuple(float(value) for value in found[f"image_{name}"]) for name in ("mean", "std"))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return (), ()
    usable = len(mean) == len(std) == 3 and all(map(math.isfinite, mean)) and all(0 < value < math.inf for value in std)
    return (mean, std) if usable else ((), ())
