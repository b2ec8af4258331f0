from __future__ import annotations

import math

import pytest
import timm
import torch

from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.methods.gs_lora import GSLoRA, GSLoRAConfig, objective, sparsity
from unlabeled.forgetting.training.distil import embedding_error


@pytest.fixture(scope="module")
def transformer() -> Classifier:
    torch.manual_seed(0)
    size = {"img_size": 8, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}
    return Classifier(timm.create_model("vit_tiny_patch16_224", in_chans=1, num_classes=0, **size)).eval()


def test_the_objective_is_the_formula() -> None:
    a, b, c = (torch.tensor(v, dtype=torch.float64) for v in ([3.0, 4.0], [[12.0]], [0.5, -0.5]))
    norms = sparsity([[a, b], [c]])
    assert float(norms) == pytest.approx(13 + math.sqrt(0.5), rel=1e-12)
    near, far = (float(objective(torch.tensor(0.2), torch.tensor(f), norms, 1.0, 0.15, 0.01)) for f in (0.4, 1.5))
    assert near == pytest.approx(0.2 + 0.15 * (1 - math.sqrt(0.4)) + 0.01 * float(norms), rel=1e-6)
    assert far == pytest.approx(0.2 + 0.01 * float(norms), rel=1e-6), "beyond the bound nothing pushes"


def changes(before: Classifier, after: Classifier) -> dict[str, torch.Tensor]:
    now = after.state_dict()
    assert set(now) == set(before.state_dict())
    return {name: now[name] - old for name, old in before.state_dict().items() if not torch.equal(now[name], old)}


def test_only_feed_forward_layers_change_and_by_little_rank(transformer: Classifier, data: ForgetData) -> None:
    before = fingerprint(transformer)
    method = GSLoRA(GSLoRAConfig(epochs=6, lr=3e-3, rank=3, beta=1.0))
    forgot = method.forget(transformer, data.without_labels())
    assert fingerprint(transformer) == before
    changed = changes(transformer, forgot)
    assert set(changed) == {f"extractor.blocks.{i}.mlp.fc{j}.weight" for i in range(2) for j in (1, 2)}
    assert all(int(torch.linalg.matrix_rank(c, rtol=1e-4)) <= 3 for c in changed.values())
    errors = [
        float(embedding_error(embed_all(forgot, images), embed_all(transformer, images)))
        for images in (data.forget, data.retain)
    ]
    assert errors[0] > 2 * errors[1]
    assert fingerprint(method.forget(transformer, data.without_labels())) == fingerprint(forgot)


def test_a_heavier_penalty_changes_less(transformer: Classifier, data: ForgetData) -> None:
    sizes = []
    for alpha in (0.0, 3.0):
        method = GSLoRA(GSLoRAConfig(epochs=2, lr=3e-3, rank=3, beta=1.0, alpha=alpha))
        sizes.append(sum(float(c.norm()) for c in changes(transformer, method.forget(transformer, data)).values()))
    assert sizes[1] < 0.5 * sizes[0]


def test_a_network_without_such_layers_is_refused_before_anything(model: Classifier, data: ForgetData) -> None:
    with pytest.raises(UserError, match=r"gs_lora changes the feed-forward layers .* and this model has none"):
        GSLoRA().check(model, data)
