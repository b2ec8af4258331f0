from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Maker = Callable[..., dict[str, np.ndarray[Any, np.dtype[np.uint8]]]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UNLABELED_DATA", raising=False)


@pytest.fixture
def make_images() -> Maker:
    """Write PNG files of random pixels; return what was written by relative name."""

    def make(root: Path, names: list[str], size: int = 8, seed: int = 0) -> dict[str, Any]:
        generator = np.random.default_rng(seed)
        written = {}
        for name in names:
            pixels = generator.integers(0, 256, (size, size, 3), dtype=np.uint8)
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name, "PNG")
            written[name] = pixels
        return written

    return make
