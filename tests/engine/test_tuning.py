"""What makes the same mathematics faster changes neither the mathematics nor what is saved."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unlabeled import backbones
from unlabeled.core.errors import UserError
from unlabeled.data import ImageSet
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.engine.loop import Hardware, Keeping, train
from unlabeled.engine.optim import OptimizerConfig
from unlabeled.engine.tuning import plain_attention, require_compiler, tune
from unlabeled.ssl.method import DataInfo, Method
from unlabeled.ssl.methods import METHODS

SETTINGS: dict[str, dict[str, Any]] = {
    "rotation": {},
    "simclr": {},
    "gsimclr": {},
    "swav": {"prototypes": 8, "freeze_steps": 1},
    "mae": {"decoder_dim": 16, "decoder_heads": 2},
    "random_teacher": {"output_dim": 64, "hidden_dim": 16, "bottleneck_dim": 8},
    "supervised": {},
}
MEAN, STD = (0.5,), (0.25,)


def method(name: str) -> Method:
    common: dict[str, Any] = {"in_chans": 1, "image_size": 16, "mean": MEAN, "std": STD, "seed": 1}
    if name == "mae":
        small: dict[str, Any] = {"patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2}
        model = backbones.create("vit_tiny_patch16_224", **common, **small)
    else:
        model = backbones.create("resnet10_small", **common, layers=(1, 1, 1, 1), channels=(8, 8, 16, 16))
    torch.manual_seed(3)
    built = METHODS[name](METHODS[name].Config(**SETTINGS[name]), model, DataInfo(48, 1, 16, 16, 4, MEAN, STD))
    if name == "gsimclr":
        built.pseudo_labels.copy_(torch.arange(48))
    return built


def trained(name: str, folder: Path, compiled: bool) -> Method:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 1, 16, 16), dtype=np.uint8)
    model = method(name)
    count = 2 if name in ("simclr", "gsimclr", "swav") else 1
    train(
        model,
        ImageSet.from_arrays(pixels, np.arange(48) % 4, name="noise"),
        Views((ViewSpec(count=count, crop="resized", scale=(0.5, 1.0), flip=0.5),), MEAN, STD),
        OptimizerConfig(name="sgd", lr=0.01),
        epochs=1,
        batch_size=16,
        seed=7,
        hardware=Hardware("cpu", compile=compiled),
        keeping=Keeping(folder),
    )
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SETTINGS))
def test_every_method_compiles(name: str, tmp_path: Path) -> None:
    plain, compiled = trained(name, tmp_path / "plain", False), trained(name, tmp_path / "compiled", True)
    one, two = plain.state_dict(), compiled.state_dict()
    assert list(one) == list(two)  # no prefixes of a compiler in what is saved
    for key in one:
        torch.testing.assert_close(one[key], two[key], atol=1e-4, rtol=1e-3)
    backbones.save(compiled.backbone, tmp_path / "backbone")


def test_without_a_compiler_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler .* hardware\.compile=false"):
        tune(method("simclr"), torch.device("cpu"), half=False, compiled=True)
    require_compiler(torch.device("cuda"))  # brings its own


def test_attention_written_out_is_the_same_attention() -> None:
    model = method("mae")
    assert isinstance(model.backbone, torch.nn.Module)
    plain = copy.deepcopy(model)
    plain_attention(plain)
    assert sum(getattr(module, "fused_attn", True) is False for module in plain.modules()) == 3
    images = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(model.eval().backbone(images), plain.eval().backbone(images))
    tokens, order = torch.randn(2, 5, 24), torch.rand(2, 16).argsort(1)
    decoders: list[Any] = [model.decoder, plain.decoder]
    torch.testing.assert_close(*(decoder(tokens, order) for decoder in decoders))
