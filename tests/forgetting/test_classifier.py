from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier, fingerprint, paper_cnn, reinitialised, wrap
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.store import cached, load_classifier, save_classifier


@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        ("resnet10t", {"num_classes": 5, "in_chans": 1}, (1, 32, 32)),
        ("vit_tiny_patch16_224", {"num_classes": 4, "img_size": 16, "patch_size": 8, "depth": 1}, (3, 16, 16)),
        ("convnext_atto", {"num_classes": 3}, (3, 32, 32)),
    ],
)
def test_any_timm_model_is_cut_without_changing_it(name: str, args: dict, shape: tuple[int, int, int]) -> None:
    model = timm.create_model(name, **args).eval()
    before, images = fingerprint(model), torch.rand(2, *shape)
    cut = wrap(model, shape)
    assert torch.allclose(cut(images), model(images), atol=1e-5)
    assert cut.embed(images).shape == (2, model.num_features)
    assert fingerprint(model) == before


def test_a_backbone_without_head() -> None:
    model = timm.create_model("resnet10t", num_classes=0).eval()
    cut = wrap(model, (3, 32, 32))
    assert cut.head is None
    assert cut(torch.rand(2, 3, 32, 32)).shape == (2, 512)
    with pytest.raises(UserError, match="has none; use laf or lfssd"):
        cut.need_head("scrub")


def test_models_whose_embedding_cannot_be_found() -> None:
    with pytest.raises(UserError, match="not a timm model"):
        wrap(nn.Linear(3, 3), (3, 8, 8))
    with pytest.raises(UserError, match="not \\(B, D\\)"):
        Classifier(nn.Conv2d(1, 2, 3)).embed(torch.rand(2, 1, 8, 8))
    with pytest.raises(UserError, match="linear layer"):
        Classifier(nn.Flatten(), nn.Identity()).last_linear("x")


def test_paper_cnn_has_the_papers_shapes() -> None:
    model = paper_cnn()
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim > 1]
    assert shapes == [(16, 1, 5, 5), (32, 16, 5, 5), (256, 1568), (128, 256), (10, 128)]
    assert model.embed(torch.rand(2, 1, 28, 28)).shape == (2, 256)


def test_reinitialising_is_a_function_of_its_keys_and_leaves_the_global_state(net: Callable[..., Classifier]) -> None:
    model, state = net(), torch.random.get_rng_state()
    a, b, c = (reinitialised(model, "x", seed) for seed in (1, 1, 2))
    assert fingerprint(a) == fingerprint(b) != fingerprint(c)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_fingerprint_ignores_memory_format_and_sees_one_bit(net: Callable[..., Classifier]) -> None:
    model = net()
    assert fingerprint(model) == fingerprint(model.copy().to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    changed = model.copy()
    with torch.no_grad():
        changed.extractor[0].bias[0] += 1e-7
    assert fingerprint(changed) != fingerprint(model)


def test_store_keeps_and_shares(tmp_path: Path, net: Callable[..., Classifier]) -> None:
    model, made = net(3), []

    def make(checkpoint: Checkpoint) -> Classifier:
        made.append(1)
        checkpoint.save("epoch", {"weights": model.state_dict()})
        return model

    first = cached(net(), tmp_path, "k", make)
    second = cached(net(), tmp_path, "k", make)
    assert len(made) == 1
    assert [p.name for p in (tmp_path / "k").iterdir() if p.is_dir()] == [], "checkpoints are for what is not finished"
    assert fingerprint(first.model) == fingerprint(second.model) == fingerprint(model)
    assert second.seconds == first.seconds
    save_classifier(model, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match="cannot load"):
        load_classifier(net(classes=4), tmp_path / "m.safetensors")
