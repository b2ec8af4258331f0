"""Fitted probes as ``.npz`` files: arrays and JSON, nothing that could run code when it is read."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write
from unlabeled.probes.base import Probe
from unlabeled.probes.catalog import PROBES, probe_class
from unlabeled.probes.statistics import Statistics

FORMAT = 3
NAMES = {path.partition(".")[2]: name for name, path in PROBES.items()}
"""By class: the name in the list."""
Arrays = dict[str, np.ndarray[Any, Any]]
Records = tuple[type, ...]


def save(probe: Probe, path: str | Path) -> None:
    """Write a fitted probe to ``path`` (.npz), whole or not at all. Its bank goes with a kNN probe.

    Raises:
        UserError: a probe that is not in the list of probes, or labels of mixed types.
    """
    kind = type(probe).__name__
    if kind not in NAMES:
        raise UserError(f"{kind}: it could not be read again; add it to the list of probes (docs/add_a_probe.md).")
    arrays: dict[str, Any] = {}
    state = {name: value for name, value in vars(probe).items() if name.endswith("_")}
    header = {
        "format": FORMAT,
        "probe": kind,
        "parameters": _pack(probe.get_params(deep=False), arrays, probe.records),
        "state": _pack(state, arrays, probe.records),
    }
    atomic_write(path, lambda handle: np.savez(handle, header=np.array(json.dumps(header)), **arrays))


def load(path: str | Path) -> Probe:
    """Read a probe written by :func:`save`.

    Raises:
        UserError: the file is missing, damaged, or no probe of this version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
        kind, version = header["probe"], header["format"]
    except FileNotFoundError as error:
        raise UserError(f"there is no probe at {path}; write one with unlabeled.probes.save(probe, path).") from error
    except (OSError, ValueError, LookupError, TypeError, EOFError, RecursionError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged or no saved probe; fit and save it again.") from error
    if kind not in NAMES or version != FORMAT:
        raise UserError(f"{path} holds a '{kind}' of format {version}, unknown to this version; update unlabeled.")
    try:
        of = probe_class(NAMES[kind])
        probe = of(**_unpack(header["parameters"], arrays, of.records))
        for name, value in _unpack(header["state"], arrays, of.records).items():
            if not name.endswith("_") or name.startswith("_"):
                raise ValueError(name)  # what fit() learns ends in an underscore; nothing else is replaced
            setattr(probe, name, value)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged or no saved probe; fit and save it again.") from error
    return probe


def _pack(value: Any, arrays: Arrays, records: Records) -> Any:
    """JSON for ``value``; arrays go to ``arrays`` and leave their key."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return {"tuple" if isinstance(value, tuple) else "list": [_pack(v, arrays, records) for v in value]}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(v, arrays, records)] for key, v in value.items()]}
    if isinstance(value, (Tensor, np.ndarray)):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.kind == "O":
            if not all(isinstance(name, str) for name in array.flat):
                raise UserError("labels or feature names of mixed types cannot be saved; use text or numbers.")
            array = array.astype(str)  # the names of a table's columns
        key = f"a{len(arrays)}"
        arrays[key] = array
        return {"tensor" if isinstance(value, Tensor) else "array": key}
    if isinstance(value, Statistics):
        fields = {k: v for k, v in vars(value.settled()).items() if k not in ("device", "cache")}
        return {"statistics": _pack({**fields, "prints": value.prints.settle()}, arrays, records)}
    if isinstance(value, records):
        return {"record": type(value).__name__, "fields": _pack(dict(vars(value)), arrays, records)}
    if isinstance(value, Probe):
        return {"probe": type(value).__name__, "fields": _pack(dict(vars(value)), arrays, value.records)}
    raise UserError(f"cannot save a {type(value).__name__}.")


def _unpack(value: Any, arrays: Arrays, records: Records) -> Any:
    if not isinstance(value, dict):
        return value
    if "list" in value:
        return [_unpack(v, arrays, records) for v in value["list"]]
    if "tuple" in value:
        return tuple(_unpack(v, arrays, records) for v in value["tuple"])
    if "dict" in value:
        return {key: _unpack(v, arrays, records) for key, v in value["dict"]}
    if "tensor" in value:
        return torch.from_numpy(arrays[value["tensor"]])
    if "array" in value:
        return arrays[value["array"]]
    if "statistics" in value:
        fields = _unpack(value["statistics"], arrays, records)
        sums = Statistics(fields["dim"], second=fields["second"], per_class=fields["per_class"])
        prints = fields.pop("prints")
        vars(sums).update(fields)
        sums.prints.add(prints)
        return sums
    if "record" in value:
        kind = {record.__name__: record for record in records}[value["record"]]
        return kind(**_unpack(value["fields"], arrays, records))
    inner = probe_class(NAMES[value["probe"]])()
    inner.__dict__.update(_unpack(value["fields"], arrays, inner.records))
    return inner
