"""Checkpoints of training scripts are read, and nothing in them is run."""

from __future__ import annotations

import argparse
import datetime
import json
import pickle
import types
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from unlabeled.backbones.foreign import read_weights
from unlabeled.core.errors import UserError

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


def plain_values() -> dict[str, Any]:
    import omegaconf

    return {
        "args": argparse.Namespace(lr=0.1, out=Path("runs"), nested=argparse.Namespace(x=[1, 2])),
        "config": omegaconf.OmegaConf.create({"model": {"depth": 12, "names": ["a", "b"]}}),
        "space": types.SimpleNamespace(a=1),
        "best": np.float64(0.5),
        "count": np.int64(3),
        "history": np.arange(3),
        "meters": defaultdict(list, {"loss": [1.0]}),
        "when": datetime.datetime(2024, 1, 1),
    }


@pytest.mark.parametrize("newer", [True, False])
def test_plain_values_beside_the_weights_are_no_obstacle(newer: bool, tmp_path: Path) -> None:
    content = {"model": WEIGHTS, "epoch": 3, **plain_values()}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=newer)
    read = read_weights(tmp_path / "w.pth")["model"]
    assert all(torch.equal(read[name], value) for name, value in WEIGHTS.items())


class Bomb:
    """Its pickle calls a function of the reader's machine."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize("where", ["value", "inside options"])
def test_what_would_run_code_is_refused_and_not_run(newer: bool, where: str, tmp_path: Path) -> None:
    import os

    bomb: Any = Bomb(os.mkdir, str(tmp_path / "ran"))
    content = {"model": WEIGHTS, "args": bomb if where == "value" else argparse.Namespace(bomb=bomb)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=newer)
    with pytest.raises(UserError, match="would run code"):
        read_weights(tmp_path / "w.pth")
    torch.save({**content, "args": Bomb(eval, "1 + 1")}, tmp_path / "e.pth", _use_new_zipfile_serialization=newer)
    with pytest.raises(UserError, match=r"\(eval\).* would run code"):
        read_weights(tmp_path / "e.pth")
    assert not (tmp_path / "ran").exists()


def test_plain_classes_are_stood_in_for_and_never_called(tmp_path: Path) -> None:
    """A numpy function that would read a file: its name may be there, it does not act."""
    (tmp_path / "secret.npy").write_bytes(b"")
    torch.save({"model": WEIGHTS, "x": Bomb(np.load, str(tmp_path / "secret.npy"), None, True)}, tmp_path / "w.pth")
    with pytest.raises(pickle.UnpicklingError):  # the real function does fail on it
        torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(read_weights(tmp_path / "w.pth")["model"]) == list(WEIGHTS)


def parts(folder: Path, kind: str) -> Path:
    names = [f"model-0000{i}-of-00002.{kind}" for i in (1, 2)]
    for name, (key, value) in zip(names, WEIGHTS.items(), strict=True):
        save_file({key: value}, folder / name) if kind == "safetensors" else torch.save({key: value}, folder / name)
    index = folder / ("model.safetensors.index.json" if kind == "safetensors" else "pytorch_model.bin.index.json")
    index.write_text(json.dumps({"weight_map": dict(zip(WEIGHTS, names, strict=True))}))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_weights_in_parts_are_put_together(kind: str, tmp_path: Path) -> None:
    index = parts(tmp_path, kind)
    for place in (index, tmp_path):
        read = read_weights(place)
        assert all(torch.equal(read[name], value) for name, value in WEIGHTS.items())
    (tmp_path / f"model-00002-of-00002.{kind}").unlink()
    with pytest.raises(UserError, match=r"00002-of-00002.* is not there \(2 belong together\)"):
        read_weights(index)
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(UserError, match="not a file beside it"):
        read_weights(index)
    index.write_text(json.dumps({"weight_map": {"absent": f"model-00001-of-00002.{kind}"}}))
    with pytest.raises(UserError, match="1 tensors that no part holds"):
        read_weights(index)
    index.write_text("[")
    with pytest.raises(UserError, match="not an index of weights"):
        read_weights(index)


def test_an_empty_folder_says_what_it_looks_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no weights; .* model.safetensors"):
        read_weights(tmp_path)
