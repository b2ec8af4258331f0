from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.frame import ForgetterConfig, Frame
from unlabeled.forgetting.methods.laf import LAF, LAFConfig, alignment_loss, phi, unlearning_loss
from unlabeled.forgetting.training.vae import EmbeddingVAE, train_vae

QUICK = LAFConfig(stop="never", epochs=3, lr_ue=1e-3, lr_ra=2e-3, vae_epochs=3, latent=4)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6), st.lists(st.floats(0, 100), min_size=1, max_size=6))
def test_unlearning_loss_is_the_formula(stay: list[float], go: list[float]) -> None:
    a, b = torch.tensor(stay, dtype=torch.float64), torch.tensor(go, dtype=torch.float64)
    assert float(unlearning_loss(a, b, "squared")) == pytest.approx(sum(stay) - sum(go), abs=1e-9)
    want = sum(math.exp(m / (m + 1)) for m in stay) - sum(math.exp(m / (m + 1)) for m in go)
    assert float(unlearning_loss(a, b, "normalised")) == pytest.approx(want)
    assert torch.equal(phi(a, "squared"), a)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_alignment_loss_is_the_formula(temperature: float) -> None:
    g = torch.Generator().manual_seed(0)
    r, r0, f, f0 = (torch.randn(n, 7, generator=g, dtype=torch.float64) for n in (5, 5, 3, 3))

    def d(a: torch.Tensor, b: torch.Tensor) -> float:
        return 1 - float(a @ b) / (float(a.norm()) * float(b.norm()))

    stay = [d(a, b) for a, b in zip(r, r0, strict=True)]
    go = sum(math.exp(d(a, b) / temperature) for a, b in zip(f, f0, strict=True))
    want = sum(math.log(math.exp(k) / go) for k in stay)
    assert float(alignment_loss(r, r0, f, f0, temperature)) == pytest.approx(want)


def test_vae_loss_is_the_formula_and_training_lowers_the_error() -> None:
    g = torch.Generator().manual_seed(0)
    e, noise = torch.randn(6, 20, generator=g), torch.randn(6, 4, generator=g)
    vae = EmbeddingVAE(20, 4)
    mean, log_variance = vae.encode(e)
    rebuilt = vae.decode(mean + noise * torch.exp(log_variance / 2))
    kl = sum(
        0.5 * (m**2 + math.exp(v) - v - 1)
        for m, v in zip(mean.flatten().tolist(), log_variance.flatten().tolist(), strict=True)
    )
    want = (((rebuilt - e) ** 2).sum().item() + 0.025 * kl) / 6
    assert float(vae.loss(e, noise, 0.025)) == pytest.approx(want, rel=1e-4)
    points = torch.randn(300, 4, generator=g) @ torch.randn(4, 20, generator=g)
    settings = {"latent": 4, "batch_size": 32, "lr": 1e-3, "kl_weight": 0.025}
    short = train_vae(points, Frame(ForgetterConfig()), "a", decoder="linear", epochs=1, **settings)
    long = train_vae(points, Frame(ForgetterConfig()), "a", decoder="linear", epochs=40, **settings)
    squashed = train_vae(points, Frame(ForgetterConfig()), "a", decoder="sigmoid", epochs=40, **settings)
    errors = [float(v.error(points).mean()) for v in (short, long, squashed)]
    assert errors[1] < errors[0] / 4
    # Why the linear decoder is the default: no sigmoid reaches negative embeddings.
    assert errors[2] > float(points.clamp(max=0).square().sum(1).mean())
    assert not any(p.requires_grad for p in long.parameters())


def test_laf_forgets_a_class_and_keeps_the_others(model: Classifier, data: ForgetData, test) -> None:
    forgot = LAF(QUICK.model_copy(update={"epochs": 20})).forget(model, data, seed=0)

    def share(m: Classifier, kept: bool) -> float:
        right = apply_head(m, embed_all(m, test)).argmax(1) == test.labels
        return float(right[(test.labels != 0) == kept].float().mean())

    assert share(model, False) > 0.9
    assert share(model, True) > 0.9
    assert share(forgot, False) < 0.2
    assert share(forgot, True) > 0.9


def test_laf_leaves_head_and_batchnorm_statistics_alone(model: Classifier, data: ForgetData) -> None:
    forgot = LAF(QUICK).forget(model, data, seed=0)
    after = forgot.state_dict()
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, after[n])}
    assert moved
    assert not any(n.startswith("head.") or "running" in n or "num_batches" in n for n in moved)


def test_laf_on_a_backbone_without_head_and_with_few_retain_images(model: Classifier, data: ForgetData) -> None:
    backbone = Classifier(model.extractor)
    config = QUICK.model_copy(update={"max_retain": 64, "phi": "squared", "decoder": "sigmoid", "noise": True})
    forgot = LAF(config).forget(backbone, data, seed=0)
    assert forgot.head is None
    before, after = embed_all(backbone, data.forget), embed_all(forgot, data.forget)
    assert float((before - after).norm()) > 0.01 * float(before.norm())


def test_labels_change_nothing(model: Classifier, data: ForgetData) -> None:
    """The same bits with right labels, with wrong labels and with none."""
    wrong = ForgetData(data.retain.relabelled(data.retain.labels.flip(0)), data.forget.with_label(2), data.unseen)
    results = [LAF(QUICK).forget(model, d, seed=0) for d in (data, wrong, data.without_labels())]
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0].parameters(), other.parameters(), strict=True))


def test_the_rule_for_classes_waits_until_nobody_gets_their_answers(model: Classifier, data: ForgetData) -> None:
    rule = QUICK.model_copy(update={"stop": "answers", "stop_every": 1, "epochs": 20})
    stopped, full = (LAF(c).forget(model, data, seed=0) for c in (rule, rule.model_copy(update={"stop": "never"})))
    start, near, far = (embed_all(m, data.forget) for m in (model, stopped, full))
    assert float((apply_head(stopped, near).argmax(1) == 0).float().mean()) <= rule.stop_share
    assert float((near - start).norm()) < float((far - start).norm())


def test_the_rule_for_classes_refuses_what_it_cannot_see(model: Classifier, data: ForgetData) -> None:
    rule = QUICK.model_copy(update={"stop": "answers"})
    some = np.arange(0, len(data.retain), 4)
    with pytest.raises(UserError, match="make up none; use stop=unseen"):
        LAF(rule).forget(model, ForgetData(data.retain, data.retain.subset(some)))
    with pytest.raises(UserError, match="this model has none"):
        LAF(rule).forget(Classifier(model.extractor), data)


def test_empty_sets_are_refused(model: Classifier, data: ForgetData, net: Callable[..., Classifier]) -> None:
    none = np.empty(0, np.int64)
    with pytest.raises(UserError, match="forget set is empty"):
        LAF(QUICK).forget(model, ForgetData(data.retain, data.forget.subset(none)))
    with pytest.raises(UserError, match="retain set is empty"):
        LAF(QUICK).forget(model, ForgetData(data.retain.subset(none), data.forget))
