"""What the shell offers after TAB. Nothing heavy is imported: the names stand here, a test holds them to the code."""

from __future__ import annotations

from collections.abc import Callable

FORMATS = ("timm", "safetensors", "torchscript", "onnx", "hub")
BENCHES = ("step", "extract", "growth", "probes")
CLEANED = ("unfinished", "checkpoints")
SWEPT_BY = ("linear", "logistic", "knn", "nmc", "lda", "ridge", "mahalanobis", "rankme")


def recipes(incomplete: str) -> list[str]:
    """Built-in recipes; the shell itself offers files where none begins so."""
    from unlabeled.recipes.load import builtin_recipes

    return [name for name in builtin_recipes() if name.startswith(incomplete)]


def one_of(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Complete one name."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def some_of(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Complete the last of several names with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in names if name.startswith(last) and name not in before.split(",")]

    return complete
