from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_curve

from unlabeled.core.errors import UserError
from unlabeled.forgetting.judge.lira import in_spreads, klom, leak, lira, log_odds, memorisation, u_lira


def shadowed(seed: int, models: int = 16, images: int = 400, lift: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences ``N(mean of the image + lift if trained on it, 1)``, and who was trained on what."""
    random = np.random.default_rng(seed)
    half = np.stack([random.permutation(images) < images // 2 for _ in range(models // 2)])
    inside = np.concatenate([half, ~half])
    return random.normal(size=(models, images)) + 3 * random.normal(size=images) + lift * inside, inside


def test_log_odds_of_the_label_also_where_it_is_certain() -> None:
    logits = torch.tensor([[0.7, 0.1, 0.2]], dtype=torch.float64).log()
    assert log_odds(logits, torch.tensor([0])) == pytest.approx([math.log(0.7 / 0.3)])
    assert log_odds(torch.tensor([[500.0, 0.0, 0.0]]), torch.tensor([0])) == pytest.approx([500 - math.log(2)])


@pytest.mark.parametrize("models", [16, 80])
def test_lira_is_the_ratio_of_two_normal_densities(models: int) -> None:
    shadows, inside = shadowed(0, models, 30)
    target = np.linspace(-4, 4, 30)
    got, offline = lira(target, shadows, inside), lira(target, shadows, inside, offline=True)
    pooled = {}
    for side, sides in ((True, inside), (False, ~inside)):
        columns = [shadows[sides[:, i], i] for i in range(30)]
        pooled[side] = math.sqrt(sum(((c - c.mean()) ** 2).sum() for c in columns) / (30 * (models // 2 - 1)))
    for i in range(30):
        a, b = shadows[inside[:, i], i], shadows[~inside[:, i], i]
        own = models // 2 >= 32
        spread = (a.std(ddof=1), b.std(ddof=1)) if own else (pooled[True], pooled[False])
        dense = stats.norm.logpdf(target[i], a.mean(), spread[0]) - stats.norm.logpdf(target[i], b.mean(), spread[1])
        assert got[i] == pytest.approx(dense)
        assert stats.norm.cdf(offline[i]) == pytest.approx(stats.norm.cdf(target[i], b.mean(), spread[1]))


def test_lira_finds_what_a_threshold_on_the_confidence_does_not() -> None:
    shadows, inside = shadowed(1)
    scores = lira(shadows[0], shadows[1:], inside[1:])
    found = leak(scores[inside[0]], scores[~inside[0]])
    plain = leak(shadows[0][inside[0]], shadows[0][~inside[0]])
    # two normals that are 2 apart have an AUC of Phi(2 / sqrt 2) = .92, and Phi(2 - 2.33) = 37 % above 99 % of one
    assert found.auc == pytest.approx(0.92, abs=0.04)
    assert 0.15 < found.tpr < 0.5
    assert plain.auc < 0.75
    off = lira(shadows[0], shadows[1:], inside[1:], offline=True)
    assert leak(off[inside[0]], off[~inside[0]]).auc == pytest.approx(0.92, abs=0.04)


def test_an_image_that_every_shadow_model_saw_is_refused() -> None:
    shadows, inside = shadowed(2, 4, 20)
    inside[:, 3] = True
    for attack in (lambda: lira(shadows[0], shadows, inside), lambda: memorisation(shadows, inside)):
        with pytest.raises(UserError, match="shadow models"):
            attack()


def test_u_lira_is_at_chance_where_unlearning_is_perfect_and_sees_what_is_left() -> None:
    random = np.random.default_rng(3)
    place = 3 * random.normal(size=300)

    def auc(lift: float) -> float:
        found = []
        for _ in range(5):
            pairs = u_lira(place + lift + random.normal(size=(4, 300)), place + random.normal(size=(4, 300)))
            found += [leak(ours, theirs).auc for ours, theirs in pairs]
        return float(np.mean(found))

    assert auc(0.0) == pytest.approx(0.5, abs=0.02)
    assert auc(2.0) > 0.85
    assert auc(-2.0) > 0.85, "over-forgetting gives an image away, too"
    with pytest.raises(UserError, match="three"):
        u_lira(np.zeros((2, 5)), np.zeros((5, 5)))


def test_klom_is_the_divergence_of_two_normals() -> None:
    ours, gold = np.array([[1.0, 4.0], [3.0, 6.0]]), np.array([[0.0, 5.0], [2.0, 9.0]])
    spread = (math.sqrt(2), math.sqrt((2 + 8) / 2))  # shared by both images
    got = klom(ours, gold)
    for i, (mean, other) in enumerate(((2, 1), (5, 7))):
        p, q = stats.norm(other, spread[1]), stats.norm(mean, spread[0])
        x = np.linspace(-60, 60, 200_001)
        assert got[i] == pytest.approx(np.trapezoid(p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), x), abs=1e-6)
    assert klom(gold, gold) == pytest.approx([0, 0])
    random = np.random.default_rng(0)
    noise = klom(random.normal(size=(5, 4000)), random.normal(size=(5, 4000))).mean()
    assert noise == pytest.approx((1 / 5 + 1 / 5) / 2, abs=0.02), "what noise alone gives"


def test_one_more_retrained_model_is_one_spread_away() -> None:
    random = np.random.default_rng(0)
    gold, more = random.normal(size=(3, 5000)), random.normal(size=5000)
    assert in_spreads(more, gold) == pytest.approx(1, abs=0.03)
    assert np.mean([in_spreads(gold[n], gold, n) for n in range(3)]) == pytest.approx(1)
    assert in_spreads(np.array([5.0]), np.array([[0.0], [1.0], [2.0]])) == pytest.approx(4 / 1)


def test_memorisation_by_hand() -> None:
    odds = np.log(np.array([[0.9, 0.5], [0.8, 0.4], [0.3, 0.6], [0.1, 0.5]]))
    odds -= np.log(1 - np.exp(odds))
    inside = np.array([[True, False], [True, True], [False, True], [False, False]])
    assert memorisation(odds, inside) == pytest.approx([0.85 - 0.2, 0.5 - 0.5])


@given(st.integers(20, 300), st.integers(20, 300), st.integers(0, 50))
def test_tpr_is_the_best_that_the_roc_curve_allows(members: int, others: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=members).round(1) + 1, random.normal(size=others).round(1)
    found = leak(a, b)
    fpr, tpr, _ = roc_curve(np.repeat([1, 0], [members, others]), np.concatenate([a, b]), drop_intermediate=False)
    assert found.tpr == pytest.approx(tpr[fpr <= 0.01].max())
    assert found.tpr_interval[0] <= found.tpr <= found.tpr_interval[1]


def test_the_interval_of_the_tpr_holds_the_truth() -> None:
    random, held, width = np.random.default_rng(0), 0, []
    truth = stats.norm.sf(stats.norm.ppf(0.99) - 1.5)
    for _ in range(120):
        low, high = leak(random.normal(size=500) + 1.5, random.normal(size=800)).tpr_interval
        held += low <= truth <= high
        width.append(high - low)
    assert held >= 110, "95 % of 120, less chance"
    assert np.mean(width) < 0.3
    assert math.isnan(leak(np.zeros(19), np.zeros(100)).tpr)
