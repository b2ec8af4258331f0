from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unlabeled import backbones
from unlabeled.core.errors import UserError
from unlabeled.core.precision import smaller_than_a_stride
from unlabeled.engine.loop import best_precision
from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.prepared import prepare


def small_resnet(size: int, **args: int) -> nn.Module:
    return backbones.create("resnet10_small", in_chans=1, image_size=size, mean=(0.5,), std=(0.5,), seed=0, **args)


@pytest.mark.parametrize(("size", "stem", "expected"), [(8, 2, True), (16, 2, False), (8, 1, False), (4, 1, True)])
def test_a_map_smaller_than_a_stride_is_found(size: int, stem: int, expected: bool) -> None:
    backbone = small_resnet(size, stem_stride=stem).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert smaller_than_a_stride(backbone, (1, size, size)) is expected
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_bfloat16_is_left_where_it_is_broken(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = {f"x_{split}": random.integers(0, 256, (40, 8, 8), np.uint8) for split in ("train", "test")}
    labels = {f"y_{split}": np.arange(40) % 2 for split in ("train", "test")}
    np.savez(tmp_path / "data.npz", **images, **labels)
    common = [f"data=npz:{tmp_path / 'data.npz'}", "batch_size=32", "hardware.accelerator=cpu"]
    assert prepare(load_recipe("supervised", common)).hardware.precision == "32-true"
    with pytest.raises(UserError, match=r"hardware\.precision=32-true"):
        prepare(load_recipe("supervised", [*common, "hardware.precision=bf16-mixed"]))
    wide = prepare(load_recipe("supervised", [*common, "backbone.args.stem_stride=1"]))
    assert wide.hardware.precision == best_precision("cpu")
