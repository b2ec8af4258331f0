"""Optimisers and schedules against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from unlabeled.engine.optim import LARS, OptimizerConfig, build_optimizer, learning_rate, weight_decay
from unlabeled.recipes.resolve import load_recipe
from unlabeled.ssl.method import ParameterGroup


def test_lars_is_the_published_update() -> None:
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))
    config = OptimizerConfig(name="lars", lr=0.5, weight_decay=0.1, momentum=0.9, trust=0.01)
    optimizer = build_optimizer(
        config, [ParameterGroup([weight]), ParameterGroup([bias], weight_decay=False, adapt=False)]
    )
    expected = [weight.detach().double().clone(), bias.detach().double().clone()]
    velocity = [torch.zeros_like(e) for e in expected]
    for step in range(3):
        for p in (weight, bias):
            p.grad = torch.full_like(p, 0.3 + step)
        optimizer.step()
        for i, p in enumerate((weight, bias)):
            update = p.grad.double() + (0.1 * expected[i] if i == 0 else 0)
            scale = 0.01 * expected[i].norm() / update.norm() if i == 0 else 1.0
            velocity[i] = 0.9 * velocity[i] + 0.5 * scale * update
            expected[i] = expected[i] - velocity[i]
    assert torch.allclose(weight.double(), expected[0], atol=1e-6)
    assert torch.allclose(bias.double(), expected[1], atol=1e-6)


def test_lars_adapts_without_weight_decay() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([{"params": [weight]}], lr=1.0, momentum=0.0, weight_decay=0.0, trust=0.001)
    weight.grad = torch.full((2, 2), 1000.0)
    optimizer.step()
    assert torch.allclose(weight, torch.full((2, 2), 1 - 0.001))


@pytest.mark.parametrize(("gradient", "moved"), [(1000.0, 0.02 / 1000), (0.001, 0.4)])
def test_clipped_trust_is_the_smaller_of_both_rates(gradient: float, moved: float) -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    config = OptimizerConfig(name="lars", lr=0.4, momentum=0.0, trust=0.02, trust_clip=True)
    optimizer = build_optimizer(config, [ParameterGroup([weight], weight_decay=False)])
    weight.grad = torch.full((2, 2), gradient)
    optimizer.step()
    assert torch.allclose(weight.double(), torch.full((2, 2), 1 - moved * gradient, dtype=torch.float64))


@pytest.mark.parametrize("clipped", [False, True])
def test_zero_norms_do_not_divide(clipped: bool) -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = LARS([{"params": [weight]}], lr=0.1, trust_clip=clipped)
    weight.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.isfinite(weight).all()
    assert float(weight.detach().abs().max()) > 0


@given(st.integers(0, 200), st.sampled_from(["cosine", "step", "constant"]), st.floats(0, 5))
def test_schedules_stay_between_zero_and_the_peak(step: int, schedule: str, warmup: float) -> None:
    config = OptimizerConfig(lr=0.4, schedule=schedule, warmup_epochs=warmup, milestones=(0.5, 0.75))  # type: ignore[arg-type]
    rate = learning_rate(config, 256, step, 20, 201)
    assert 0 <= rate <= 0.4 + 1e-12


def test_cosine_with_warmup() -> None:
    config = OptimizerConfig(lr=0.1, lr_batch=256, warmup_epochs=1)
    rates = [learning_rate(config, 512, step, 10, 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == pytest.approx(0.2)
    assert rates[9] == pytest.approx(0.2)
    assert rates[60] == pytest.approx(0.1 * (1 + math.cos(math.pi * 0.5)), abs=1e-9)
    assert rates[-1] < 1e-3


def test_steps_multiply_by_gamma() -> None:
    config = OptimizerConfig(lr=1.0, schedule="step", milestones=(0.3, 0.6), gamma=0.2)
    assert [round(learning_rate(config, 1, s, 1, 10), 3) for s in (0, 2, 3, 5, 6, 9)] == [1, 1, 0.2, 0.2, 0.04, 0.04]


def test_the_infinite_schedule_is_the_same_however_long_training_is() -> None:
    config = OptimizerConfig(lr=0.8, schedule="infinite", warmup_epochs=1, cooldown_epochs=2, floor=0.25)
    rates = [learning_rate(config, 1, step, 10, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.08 * (i + 1) for i in range(10)])
    assert rates[20] == pytest.approx((0.8 + 0.2) / 2)  # half-way down the cosine
    assert rates[30:] == pytest.approx([0.2] * 70)
    assert rates == [learning_rate(config, 1, step, 10, 1000) for step in range(100)]
    annealed = config.model_copy(update={"anneal_epochs": 2.0})
    last = [learning_rate(annealed, 1, step, 10, 100) for step in range(100)]
    assert last[:81] == pytest.approx(rates[:81])
    assert last[80:] == pytest.approx([0.2 * (20 - i) / 20 for i in range(20)])


def test_weight_decay_follows_a_cosine_of_its_own():
    config = OptimizerConfig(weight_decay=0.04, weight_decay_end=0.4)
    assert [weight_decay(config, step, 100) for step in (0, 50, 100)] == pytest.approx([0.04, 0.22, 0.4])
    assert weight_decay(OptimizerConfig(weight_decay=0.3), 70, 100) == 0.3


def test_swavs_schedule_starts_peaks_and_ends_where_the_authors_does() -> None:
    recipe = load_recipe("swav-imagenet")
    per_epoch = 1_281_167 // 4096
    total = per_epoch * recipe.epochs

    def rate(step: int) -> float:
        return learning_rate(recipe.optimizer, recipe.batch_size, step, per_epoch, total)

    assert rate(0) == pytest.approx(0.3, rel=0.01)
    assert rate(10 * per_epoch - 1) == pytest.approx(4.8)
    assert rate(total) == pytest.approx(0.0048)
    blurred = [tuple(96 / 224 * sigma for sigma in view.blur_sigma) for view in recipe.views if view.size == 96]
    assert blurred == [pytest.approx((0.1, 2.0), rel=1e-3)]


def test_rotations_steps_are_exact_thirds() -> None:
    optimizer = load_recipe("rotation-imagenet").optimizer
    rates = [learning_rate(optimizer, 192, step, 7, 30 * 7) for step in (0, 69, 70, 139, 140, 209)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001])
