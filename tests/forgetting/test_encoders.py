"""Forgetting in an encoder that has neither a classifier nor labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.contract import AnyForgetter, ForgetData
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.methods import METHODS, forgetter_class
from unlabeled.forgetting.methods.bad_teacher import incompetent
from unlabeled.forgetting.methods.noise_finetune import perturb
from unlabeled.forgetting.methods.scar import SMALL, Distributions, shrunk_inverse, tukey
from unlabeled.forgetting.training.distil import embedding_error

SHORT = {"epochs": 1, "lr": 1e-3, "vae_epochs": 1, "alpha": 1.2}


@pytest.fixture
def encoder(model: Classifier) -> Classifier:
    return Classifier(model.copy().extractor).eval()


def build(name: str, **settings: object) -> AnyForgetter:
    kind = forgetter_class(name)
    short = {key: value for key, value in SHORT.items() if key in kind.Config.model_fields}
    return kind(kind.Config(**{**short, **settings}))


def asks_for_images_alone(name: str) -> bool:
    kind = forgetter_class(name)
    return not (kind.needs_head or kind.needs_labels or kind.own_loss or name == "gs_lora")


HEADLESS = sorted(filter(asks_for_images_alone, METHODS))


@pytest.mark.parametrize("name", HEADLESS)
def test_what_needs_neither_head_nor_labels_works_without(name: str, encoder: Classifier, data: ForgetData) -> None:
    before = fingerprint(encoder)
    forgot = build(name).forget(encoder, data.without_labels())
    assert fingerprint(encoder) == before != fingerprint(forgot)
    assert forgot.head is None
    assert bool(torch.isfinite(embed_all(forgot, data.forget)).all())


def error(model: Classifier, other: torch.Tensor, data: ForgetData, part: str) -> float:
    return float(embedding_error(embed_all(model, getattr(data, part)), other))


def test_the_error_of_embeddings_is_the_formula() -> None:
    g = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2))
    squares = sum((student[i] - teacher[i]).norm() ** 2 for i in range(5))
    assert float(embedding_error(student, teacher)) == pytest.approx(
        float(squares / sum(teacher[i].norm() ** 2 for i in range(5))), rel=1e-12
    )
    assert float(embedding_error(3 * student, 3 * teacher)) == pytest.approx(
        float(embedding_error(student, teacher)), rel=1e-12
    )


def test_noise_has_the_stated_size_in_every_tensor(encoder: Classifier) -> None:
    linear = torch.nn.Linear(400, 100).double()
    before = [p.detach().clone() for p in linear.parameters()]
    perturb(linear, 0.25, rng.torch_generator("noise", 1))
    g = rng.torch_generator("noise", 1)
    for p, old in zip(linear.parameters(), before, strict=True):
        epsilon = torch.randn(old.shape, generator=g, dtype=torch.float64)
        assert torch.allclose(p, old + 0.25 * (old**2).mean() ** 0.5 * epsilon, rtol=1e-12)
    moved = (linear.weight - before[0]).std() / before[0].square().mean().sqrt()
    assert float(moved.detach()) == pytest.approx(0.25, rel=0.02)


def test_what_noise_broke_is_repaired_on_the_images_that_stay(encoder: Classifier, data: ForgetData) -> None:
    before = {part: embed_all(encoder, getattr(data, part)) for part in ("retain", "forget")}
    broken, repaired = (
        build("noise_finetune", epochs=e, lr=lr).forget(encoder, data) for e, lr in ((1, 1e-9), (6, 3e-3))
    )
    retain, forget = (error(repaired, before[part], data, part) for part in ("retain", "forget"))
    assert retain < 0.2 * error(broken, before["retain"], data, "retain")
    assert forget > 2 * retain


@pytest.mark.parametrize("name", ["bad_teacher", "stochastic_teacher"])
def test_teachers_teach_embeddings_where_there_is_no_head(name: str, encoder: Classifier, data: ForgetData) -> None:
    stays, goes = embed_all(encoder, data.retain), embed_all(encoder, data.forget)
    teacher = incompetent(encoder, data.forget, Frame(TrainConfig()), name)
    with torch.no_grad():
        bad = torch.cat([teacher(batch) for batch in data.forget.batches(256)])
    assert float(bad.square().mean()) == pytest.approx(float(goes.square().mean()), rel=1e-4)
    longer = {"rebuild_epochs": 1} if name == "stochastic_teacher" else {"retain_share": 1.0}
    forgot = build(name, epochs=8, lr=3e-3, **longer).forget(encoder, data)
    assert error(forgot, bad, data, "forget") < 0.6 * float(embedding_error(goes, bad))
    assert error(forgot, stays, data, "retain") < error(forgot, goes, data, "forget")


def test_scars_distances_are_the_formula() -> None:
    g = torch.Generator().manual_seed(0)
    rows = torch.rand(30, 4, generator=g, dtype=torch.float64) + torch.arange(2).repeat_interleave(15)[:, None]
    groups = torch.tensor([7] * 15 + [2] * 14 + [5])  # a group of one has no distribution
    near, names = Distributions.of(rows, groups, 3.0, 2.0)
    assert names.tolist() == [2, 7]
    x = torch.rand(3, 4, generator=g, dtype=torch.float64) - 0.5
    found = near.distances(x)
    for k, name in enumerate((2, 7)):
        part = np.sqrt(rows[groups == name].numpy())
        cov = np.cov(part.T)
        off = cov[~np.eye(4, dtype=bool)].mean()
        shrunk = cov + 3 * np.trace(cov) / 4 * np.eye(4) + 2 * off * (1 - np.eye(4))
        sigma = np.sqrt(np.diag(shrunk))
        inverse = np.linalg.inv(shrunk / np.outer(sigma, sigma))
        assert np.allclose(shrunk_inverse(torch.as_tensor(part), 3.0, 2.0).numpy(), inverse)
        mean = part.mean(0) / np.linalg.norm(part.mean(0))
        for i in range(3):
            z = np.sign(x[i].numpy()) * np.sqrt(np.abs(x[i].numpy()))
            d = z / np.linalg.norm(z) - mean
            assert float(found[i, k]) == pytest.approx(d @ inverse @ d, rel=1e-9)


def test_scars_root_has_a_slope_everywhere() -> None:
    x = torch.tensor([[0.0, SMALL / 2, 0.25, -0.25]], requires_grad=True)
    Distributions(torch.eye(4)[:2], torch.eye(4).expand(2, 4, 4)).distances(x).sum().backward()
    assert bool(torch.isfinite(x.grad).all())


def test_scar_moves_the_images_to_another_group_and_stops(encoder: Classifier, data: ForgetData) -> None:
    """A class in three groups of unseen images: its images end nearest to another one, and the unseen stay."""
    method = build("scar", epochs=20, lr=3e-3, clusters=3, target=0.05)
    forgot = method.forget(encoder, replace(data, task="class"))
    unseen = data.need_unseen("test")
    stays, goes = embed_all(encoder, unseen), embed_all(encoder, data.forget)
    centres, *moved = (F.normalize(tukey(e)) for e in (stays, goes, embed_all(forgot, data.forget)))
    means = torch.stack([centres[unseen.rows % 3 == c].mean(0) for c in range(3)])
    before, after = (float((torch.cdist(e, means).argmin(1) == 0).float().mean()) for e in moved)
    assert before > 0.9
    assert after < 0.3
    assert error(forgot, goes, data, "forget") > 2 * float(
        embedding_error(embed_all(forgot, data.retain), embed_all(encoder, data.retain))
    )
