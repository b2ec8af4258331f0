from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.methods.slug import (
    SLUG,
    SLUGConfig,
    alignment,
    importance,
    longest_step,
    mean_gradients,
    pareto,
)
from unlabeled.forgetting.training.agreement import ENOUGH, Agreement
from unlabeled.forgetting.training.objective import CrossEntropy

SCORES = st.dictionaries(
    st.sampled_from("abcdefgh"), st.tuples(st.floats(0, 10, width=32), st.floats(0, 1, width=32)), min_size=1
)


def test_the_scores_are_the_formulas() -> None:
    forget, weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]]).double(), torch.tensor([[0.0, 2.0], [0.0, 0.0]]).double()
    retain = torch.tensor([[-1.0, 1.0], [0.0, 0.0]]).double()
    assert importance(forget, weight) == pytest.approx(5 / 2, rel=1e-12)
    assert alignment(forget, retain) == pytest.approx(3 / (5 * math.sqrt(2)), rel=1e-12)


@given(SCORES)
def test_whoever_is_not_on_the_front_is_beaten_by_one_that_is(scores: dict[str, tuple[float, float]]) -> None:
    front = pareto(scores)
    assert front
    for name, (much, aligned) in scores.items():
        better = [o for o in front if scores[o] != (much, aligned) and scores[o][0] >= much and scores[o][1] <= aligned]
        assert bool(better) != (name in front)


def test_a_gradient_is_the_mean_over_the_batches(model: Classifier, data: ForgetData) -> None:
    trained = model.copy().eval()
    objective = CrossEntropy(trained, "cpu")
    layer = trained.extractor[0].weight
    (got,) = mean_gradients(objective, [layer], data.forget.subset(np.arange(30)), "forget", 15)
    for rows in (np.arange(15), np.arange(15, 30)):
        images, labels = data.forget.labelled(rows)
        F.cross_entropy(trained(images), labels).backward()
    assert torch.allclose(got, layer.grad / 2, atol=1e-7)


def test_one_layer_moves_as_far_as_the_retain_images_allow(model: Classifier, data: ForgetData) -> None:
    forgot = SLUG(SLUGConfig(longest=30)).forget(model, data, seed=0)
    old, new = (dict(m.named_parameters()) for m in (model, forgot))
    (name,) = (n for n in old if not torch.equal(old[n], new[n]))
    assert name.startswith("extractor.")
    agreement = Agreement(model, data.retain, "cpu", "slug", 0)
    assert agreement(model) == 1
    assert agreement(forgot) >= ENOUGH
    further = model.copy()
    with torch.no_grad():
        layer = further.get_parameter(name)
        layer.add_(1.05 * (new[name] - old[name]))
    assert agreement(further.eval()) < ENOUGH
    losses = [
        [
            F.cross_entropy(m(images.batch(np.arange(100))), images.labels[:100]).item()
            for images in (data.forget, data.retain)
        ]
        for m in (model.copy().eval(), forgot)
    ]
    rise = [after - before for before, after in zip(*losses, strict=True)]
    assert rise[0] > 0.5
    assert rise[1] < rise[0] / 4
    sideways = model.copy().eval()  # the positive control: as long a step in any other direction does not forget
    with torch.no_grad():
        step = torch.randn(layer.shape, generator=rng.torch_generator("sideways"))
        sideways.get_parameter(name).add_(step * (new[name] - old[name]).norm() / step.norm())
    at_random = F.cross_entropy(sideways(data.forget.batch(np.arange(100))), data.forget.labels[:100]).item()
    assert at_random - losses[0][0] < rise[0] / 4


def test_the_longest_step_is_found_and_the_network_left_alone(model: Classifier, data: ForgetData) -> None:
    trial = Classifier(model.copy().extractor).eval()
    before = trial.extractor[0].weight.detach().clone()
    gradient = torch.randn(before.shape, generator=rng.torch_generator("gradient"))
    agreement = Agreement(trial, data.retain, "cpu", "slug", 0)
    step = longest_step(trial, "0.weight", gradient, agreement, longest=4.0)
    assert torch.equal(trial.extractor[0].weight, before)
    changed = trial.copy().eval()
    with torch.no_grad():
        changed.extractor[0].weight.add_(step * gradient)
    cosine = F.cosine_similarity(embed_all(trial, data.retain), embed_all(changed, data.retain)).mean()
    assert 0.99 <= float(cosine) < 0.992
    tiny = longest_step(trial, "0.weight", gradient, agreement, longest=1e-4)
    assert tiny == pytest.approx(1e-4 * float(before.norm() / gradient.norm()))
