"""What goes into a probe: features and labels of any usual kind, checked once and read in bounded blocks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import issparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.core.errors import UserError
from unlabeled.probes.features import FeatureBank

Floats = npt.NDArray[Any]
Labels = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
Features = Floats | Tensor
BLOCK_VALUES = 1 << 22  # values of one block: 16 MB in float32, whatever N and D are


class InputError(UserError, ValueError):
    """Features or labels that a probe cannot take. Also a ``ValueError``, as scikit-learn's callers expect."""


def as_features(X: Any, name: str = "features") -> Features:
    """Return ``X`` as a two-dimensional float array or tensor without copying what already is one.

    Args:
        X: (N, D) numpy array, memory map, torch tensor, :class:`FeatureBank`, nested lists or a table.
        name: what to call it in an error.

    Raises:
        InputError: not two-dimensional, empty, sparse, or not numeric. Values are checked when they are read.
    """
    if isinstance(X, FeatureBank):
        X = X.features
    if isinstance(X, Tensor):
        if X.ndim != 2:
            raise InputError(f"{name} must be a (N, D) tensor, not {tuple(X.shape)}. Reshape your data.")
        if not len(X) or not X.shape[1]:
            raise InputError(f"{name} have shape {tuple(X.shape)}: at least one row and one column are needed.")
        if X.is_complex():
            raise InputError(f"Complex data not supported: {name} must be real numbers.")
        return X.detach() if X.is_floating_point() else X.detach().double()
    if issparse(X):
        raise InputError(f"Sparse {name} are not supported: use X.toarray().")
    try:
        checked: Floats = check_array(X, dtype=[np.float64, np.float32, np.float16], ensure_all_finite=False)
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error
    return checked


def as_labels(y: Any, n: int) -> Labels:
    """Return ``y`` as a one-dimensional numpy array of ``n`` labels of any sortable type.

    Raises:
        InputError: no labels, another length than the features, NaN among them, or continuous numbers.
    """
    if y is None:
        raise InputError("a probe requires y to be passed, but the target y is None.")
    if isinstance(y, Tensor):
        y = y.detach().cpu().numpy()
    try:
        labels: Labels = column_or_1d(y, warn=True)
        if labels.dtype.kind == "O":
            sorted(labels)  # a TypeError here says what a later search among classes would stumble over
            labels = np.asarray(labels.tolist())  # a table's column: of the type that its values have
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise InputError("labels (y) contain NaN or infinity; drop those rows.")
        with warnings.catch_warnings():  # one row a class is not a regression but a one-shot probe
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            check_classification_targets(labels)
    except TypeError as error:
        raise InputError(f"labels must be of one type, e.g. all text or all integers ({error}).") from error
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error
    if len(labels) != n:
        raise InputError(f"inconsistent numbers of samples: {n} rows of features, {len(labels)} labels.")
    return labels


def encode(labels: Labels, classes: Labels) -> Rows:
    """Return each label's position in the sorted ``classes``, -1 for a label that is not among them.

    Raises:
        InputError: labels and classes cannot be compared (text against numbers).
    """
    if (labels.dtype.kind in "US") != (classes.dtype.kind in "US"):
        kinds = ["text" if kind.dtype.kind in "US" else "numbers" for kind in (labels, classes)]
        raise InputError(f"these labels are {kinds[0]} but the probe learned {kinds[1]}; use one kind for both.")
    position = np.clip(np.searchsorted(classes, labels), 0, max(len(classes) - 1, 0))
    found = classes[position] == labels if len(classes) else np.zeros(len(labels), bool)
    return np.where(found, position, -1).astype(np.int64)


def device_of(X: Features, device: str | None) -> torch.device:
    """Where to compute: on ``device`` where one is named, else where the features lie."""
    if device is not None:
        return torch.device(device)
    return X.device if isinstance(X, Tensor) else torch.device("cpu")


def take(X: Features, rows: slice | Rows, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Read some rows onto ``device`` in ``dtype``.

    Raises:
        InputError: NaN or infinity among them.
    """
    if isinstance(X, Tensor):
        part = X[rows] if isinstance(rows, slice) else X[send(torch.from_numpy(rows), X.device)]
    else:
        values = X[rows]
        # A read-only memory map must be copied: torch has no read-only tensors.
        part = torch.from_numpy(np.ascontiguousarray(values) if values.flags.writeable else values.copy())
    part = part.to(device=device, dtype=dtype)
    # A finite sum proves finite values in one pass; only a sum that overflows needs the closer look.
    if not torch.isfinite(part.sum()) and not torch.isfinite(part).all():
        where = f"rows {rows.start}-{rows.start + len(part) - 1}" if isinstance(rows, slice) else f"{len(part)} rows"
        raise InputError(f"features contain NaN or infinity ({where}); drop those rows or look at the backbone.")
    return part


def picked(X: Features, rows: Rows, at: Tensor) -> Tensor:
    """Some rows of ``X`` as float32 where ``at``, the same row numbers, lies.

    Rows that lie there already were checked when they were read: looking at them again would make the host wait.
    """
    if isinstance(X, Tensor) and X.device == at.device and X.dtype == torch.float32:
        return X[at]
    return take(X, rows, at.device)


def check_finite(X: Features) -> None:
    """Read all rows once.

    Raises:
        InputError: NaN or infinity among them.
    """
    for _ in blocks(X, device_of(X, None)):
        pass


def block_rows(columns: int, values: int = BLOCK_VALUES) -> int:
    """How many rows of ``columns`` values make one block."""
    return max(1, values // max(1, columns))


def blocks(
    X: Features, device: torch.device, dtype: torch.dtype = torch.float32, rows: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield ``(slice, block)`` over all rows; a block holds at most 16 MB of float32, whatever N is."""
    step = rows or block_rows(X.shape[1])
    for start in range(0, len(X), step):
        part = slice(start, min(start + step, len(X)))
        yield part, take(X, part, device, dtype)


def all_rows(X: Any, dtype: torch.dtype = torch.float32, name: str = "features") -> Tensor:
    """All of ``X`` as one checked (N, D) tensor where it lies, for what is read off a few thousand rows."""
    features = as_features(X, name)
    return torch.cat([block for _, block in blocks(features, device_of(features, None), dtype)])


def like(result: Tensor, X: Any) -> Any:
    """Return ``result`` as what ``X`` is: a tensor on its device, or a numpy array."""
    return result.to(X.device) if isinstance(X, Tensor) else result.cpu().numpy()


def shown(label: object) -> str:
    """A label as it was written, not as numpy prints it.

    >>> shown(np.array(["wolf"])[0])
    "'wolf'"
    """
    return repr(label.item() if isinstance(label, np.generic) else label)
