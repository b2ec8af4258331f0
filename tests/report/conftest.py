"""Runs made of plain data, some of them hostile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unlabeled.core.progress import set_quiet
from unlabeled.report import Atlas, Cell, Confusion, Forgetting, Gallery, Picture, Projection, RunContent
from unlabeled.verbs.forget import forget
from unlabeled.verbs.pretrain import pretrain

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
    "--disable-component-update", "--no-first-run", "--window-size=1280,900",
)  # fmt: skip
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>\"'&"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
WIDE = b'<svg xmlns="http://www.w3.org/2000/svg" width="1300" height="400"><rect width="1300" height="400"/></svg>'


def report(model: str, shares: dict[str, float], data: str = "clothes") -> dict[str, object]:
    probes = {
        name: {"top1": v, "interval": [v - 0.02, v + 0.02], "n": 400, "top5": 0.99, "chosen": {"lr": 0.1}}
        for name, v in shares.items()
    }
    return {"model": model, "data": data, "dimension": 8, "probes": probes}


@pytest.fixture
def make_content() -> Callable[..., RunContent]:
    def make(name: str = "first", offset: float = 0.0, text: str = "coat") -> RunContent:
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (24, 1, 8, 8), dtype=np.uint8)
        labels = np.arange(24) % 3
        classes = [text, "bag", "boot"]
        own = report(name, {"linear": 0.8 + offset, "knn": 0.7 + offset, "nmc": 0.65})
        own["compared_with"] = [report("raw pixels", {"linear": 0.6, "knn": 0.62, "nmc": 0.5})]
        cells = [[Cell(image, f"{text} {i}", bool(i % 2)) for i, image in enumerate(images[:4])]]
        return RunContent(
            name=name,
            method="simclr",
            facts={"method": "simclr", "backbone": "resnet", "data": f"clothes {text}", "training": "3 epochs"},
            metrics=[{"step": i, "epoch": i / 10, "loss": 5 / (i + 1) + offset, "lr": 0.1} for i in range(300)],
            probes=[own],
            confusions=[Confusion("linear", classes, np.array([[8, 2, 0], [0, 9, 1], [1, 0, 9]]))],
            atlas=Atlas(images, [f"{text}/{i}.png" for i in range(24)], labels, classes),
            projections=[Projection(t, generator.normal(size=(24, 2)).astype(np.float32)) for t in ("PCA", "t-SNE")],
            retrieval=Gallery("nearest", text, ["image", "nearest", "", ""], cells),
            galleries=[Gallery("views", text, [""] * 4, cells, ["view"])],
            pictures=[Picture(text, PNG, "image/png")],
            forgetting=[
                Forgetting(
                    text,
                    {"method": "laf"},
                    {"before": {"test_f": 0.6}, "after": {"test_f": 0.1}},
                    [text],
                    [Picture(text, WIDE, "image/svg+xml")],
                )
            ],
            recipe=f"name: {text}\n",
            settings={"epochs": 3, "optimizer.lr": offset, "name": text},
            environment={"command": f"unlabeled {text}", "versions": {"torch": "2"}},
            notes=[text],
        )

    return make


@pytest.fixture
def hostile() -> str:
    return HOSTILE


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    if not (BROWSER and DRIVER):
        pytest.skip("no Chromium on this machine")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with labels on easy classes, and one of which a fifth was forgotten."""
    folder = tmp_path_factory.mktemp("compare")
    random = np.random.default_rng(0)
    labels = np.arange(240) % 3
    pixels = random.normal(labels[:, None, None] * 60 + 60, 40, (240, 8, 8)).clip(0, 255).astype(np.uint8)
    np.savez(folder / "d.npz", x_train=pixels[:150], y_train=labels[:150], x_test=pixels[150:], y_test=labels[150:])
    set_quiet(True)
    small = "backbone.args={layers: [1, 1, 1, 1], channels: [16, 16, 32, 32]}"
    common = (f"data=npz:{folder / 'd.npz'}", "batch_size=50", "health.every=0", small)
    pretrain("supervised", folder / "original", overrides=(*common, "epochs=1"))
    forget(
        folder / "original", "random:20%", method="finetune", settings=("epochs=1",), retrain=False,
        out=folder / "forgotten",
    )  # fmt: skip
    set_quiet(False)
    return folder
