"""Models by name: timm's pretrained weights from the hub's cache, random ones under a name of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from unlabeled import backbones
from unlabeled.core.errors import UserError
from unlabeled.runs.models import backbone_folder, load_backbone


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def put(cache: Path, hub_id: str, model: Any) -> None:
    commit, home = "0" * 40, cache / f"models--{hub_id.replace('/', '--')}"
    backbones.save(model, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)


def test_a_timm_name_means_its_pretrained_weights(cache: Path) -> None:
    with pytest.raises(UserError, match=r"not in the hub's cache .* hf download timm/resnet18.a1_in1k config.json"):
        load_backbone("timm:resnet18")
    theirs = timm.create_model("resnet18", num_classes=1000).eval()  # as it lies on the hub: with its classifier
    put(cache, "timm/resnet18.a1_in1k", theirs)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(load_backbone("timm:resnet18").model(images), wanted)
    assert backbone_folder("timm:resnet18") == backbone_folder("hf-hub:timm/resnet18.a1_in1k")


def test_what_has_no_weights_says_so() -> None:
    with pytest.raises(UserError, match="no pretrained weights of 'resnet18_small'; random:resnet18_small"):
        load_backbone("timm:resnet18_small")
    with pytest.raises(UserError, match="Did you mean 'resnet18'"):
        load_backbone("timm:resnt18")
    with pytest.raises(UserError, match="has not learned anything"):
        load_backbone("random:resnet18")
