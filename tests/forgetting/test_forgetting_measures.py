from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.judge import attacks, measures
from unlabeled.forgetting.judge.relearn import RelearnCurve, relearn_curve, relearn_ratio, watched
from unlabeled.forgetting.judge.reprobe import reprobe
from unlabeled.probes.similarity import linear_cka, unbiased_cka


def test_accuracy_by_hand() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 5.0]])
    labels = torch.tensor([0, 1, 1, 1])
    assert measures.accuracy(logits, labels) == 0.75
    assert measures.class_accuracy(logits, labels, 3)[:2] == [1.0, pytest.approx(2 / 3)]
    assert math.isnan(measures.class_accuracy(logits, labels, 3)[2])


def test_aus_is_one_for_the_ideal_and_a_half_for_doing_nothing() -> None:
    assert measures.aus(0.9, 0.9, 0.0) == 1
    assert measures.aus(0.9, 0.9, 1.0) == 0.5
    assert measures.aus(0.8, 0.9, 0.25) == pytest.approx(0.9 / 1.25)
    assert measures.aus(0.9, 0.9, 0.9, 0.9) == 1  # random removal: forget accuracy should equal test accuracy
    assert measures.aus(0.9, 0.9, 1.0, 0.9) == pytest.approx(1 / 1.1)


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_rus_is_a_harmonic_mean(a: float, b: float) -> None:
    assert measures.rus(a, b) == pytest.approx(2 / (1 / a + 1 / b))
    assert measures.rus(1, 1) == 1
    assert measures.rus(0, 0) == 0
    assert math.isnan(measures.rus(math.nan, a))


def test_zrf_against_scipy_and_at_its_ends() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(20, 5, generator=g), torch.randn(20, 5, generator=g)
    want = 1 - np.mean(
        [jensenshannon(p, q, base=2) ** 2 for p, q in zip(a.softmax(1).numpy(), b.softmax(1).numpy(), strict=True)]
    )
    assert measures.zrf(a, b) == pytest.approx(want, abs=1e-5)
    assert measures.zrf(a, a) == pytest.approx(1)
    assert measures.zrf(torch.tensor([[1e3, 0.0]]), torch.tensor([[0.0, 1e3]])) == pytest.approx(0)


def test_activation_distance_at_its_ends() -> None:
    a = torch.tensor([[1e3, 0.0], [0.0, 1e3]])
    assert measures.activation_distance(a, a) == 0
    assert measures.activation_distance(a, a.flip(1)) == pytest.approx(math.sqrt(2))


def test_the_balanced_attack_is_at_chance_on_equals_and_certain_on_opposites() -> None:
    random = np.random.default_rng(0)
    same = attacks.balanced_attack(random.normal(size=(1500, 6)), random.normal(size=(4000, 6)))
    assert abs(same.accuracy - 0.5) < 0.04
    assert abs(same.auc - 0.5) < 0.04
    told = attacks.balanced_attack(random.normal(size=(300, 6)) + 9, random.normal(size=(900, 6)))
    assert told.accuracy == told.auc == 1
    assert len(told.member_scores) == len(told.other_scores) == 300
    # Two normals d apart: the best attack reaches Phi(d / 2), its AUC is Phi(d / sqrt 2).
    half = attacks.balanced_attack(random.normal(size=(2000, 1)) + 1, random.normal(size=(2000, 1)))
    assert half.accuracy == pytest.approx(0.691, abs=0.03)
    assert half.auc == pytest.approx(0.760, abs=0.03)


def test_attacks_have_an_interval_and_are_not_given_for_few_images() -> None:
    random = np.random.default_rng(0)
    few = attacks.balanced_attack(random.normal(size=(19, 2)), random.normal(size=(500, 2)))
    assert math.isnan(few.auc)
    assert math.isnan(few.accuracy)
    assert all(map(math.isnan, few.interval))
    # Hanley and McNeil's own example: AUC .893 of 51 abnormal and 58 normal images has a standard error of .032.
    low, high = attacks.auc_interval(0.893, 51, 58)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.032, abs=0.002)
    held = 0
    for _ in range(200):  # scores of two normals, d apart: the AUC is Phi(d / sqrt 2)
        a, b = random.normal(size=60) + 1, random.normal(size=60)
        low, high = attacks.auc_interval(float((a[:, None] > b).mean()), 60, 60)
        held += low <= 0.7602 <= high
    assert 180 <= held <= 199, "95 % of 200"


def test_matching_makes_classes_useless_to_an_attack() -> None:
    labels, other = np.repeat([0, 1], [90, 10]), np.repeat([0, 1, 2], [20, 80, 50])
    left, right = attacks.matched(labels, other)
    assert np.array_equal(np.bincount(labels[left], minlength=3), [20, 10, 0])
    assert np.array_equal(np.bincount(other[right], minlength=3), [20, 10, 0])


def test_output_features_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.1, 0.2]], dtype=torch.float64))
    got = attacks.output_features(logits, torch.tensor([2]))[0]
    entropy = -sum(p * math.log(p) for p in (0.7, 0.1, 0.2))
    assert got == pytest.approx([math.log(0.1), math.log(0.2), math.log(0.7), entropy, math.log(0.2)])


def test_member_scores_follow_the_side_a_target_lies_on() -> None:
    random = np.random.default_rng(0)
    member, other = random.normal(size=(500, 2)) + 2, random.normal(size=(500, 2)) - 2
    assert attacks.member_scores(member, other, random.normal(size=(50, 2)) + 2).mean() > 0.9
    assert attacks.member_scores(member, other, random.normal(size=(50, 2)) - 2).mean() < 0.1


def test_the_papers_attack_rewards_always_answering_member() -> None:
    """Outputs that say "member" whatever they are: 6000 forget against the last 500 of 1000 test images."""
    sure, unsure = torch.tensor([[9.0, 0.0, 0.0]]), torch.zeros(1, 3)
    test = torch.cat([unsure.expand(500, 3), sure.expand(500, 3)])
    asr = attacks.paper_asr(sure.expand(3000, 3), test, sure.expand(1500, 3))
    assert asr == (pytest.approx(1500 / 2000), 2000)
    honest = torch.cat([unsure.expand(1000, 3)])
    assert attacks.paper_asr(sure.expand(3000, 3), honest, sure.expand(1500, 3)) == (1, 2000)


def test_relearning_from_the_target_needs_no_step_and_from_nothing_some(
    model: Classifier, data: ForgetData, net
) -> None:  # type: ignore[no-untyped-def]
    there = relearn_curve(model, data.forget, 0.5)
    assert (there.reached, there.steps) == (0, [0])
    fresh = relearn_curve(net(5), data.forget, 0.95, lr=3e-3, max_steps=60)
    assert fresh.reached is not None
    assert fresh.reached > 0
    assert fresh.accuracy[-1] >= 0.95 > max(fresh.accuracy[:-1])
    assert relearn_curve(net(5), data.forget, 1.1, every=2, max_steps=4).reached is None
    # Of many images some are watched: a model's own accuracy on those is where it is already.
    many = data.forget.subset(np.arange(1500) % len(data.forget))
    seen = many.subset(watched(len(many), 0))
    assert len(set(watched(len(many), 0).tolist())) == 1000
    own = measures.accuracy(apply_head(net(5), embed_all(net(5), seen)), seen.labels)
    assert relearn_curve(net(5), many, own, max_steps=5).reached == 0


def test_relearn_ratio() -> None:
    def curve(reached: int | None, last: int = 100) -> RelearnCurve:
        return RelearnCurve([0, last], [0.0, 1.0], 0.9, reached)

    assert relearn_ratio(curve(10), curve(40)) == 0.25
    assert relearn_ratio(curve(None), curve(50)) == 2
    assert relearn_ratio(curve(0), curve(0)) == 1
    assert math.isnan(relearn_ratio(curve(20), curve(0)))


def test_reprobing_finds_what_is_there_and_nothing_in_noise() -> None:
    g = torch.Generator().manual_seed(0)
    labels, test = torch.arange(600) % 3, torch.arange(90) % 3
    noise, centres = torch.randn(690, 8, generator=g), 6 * torch.eye(8)[:3]
    clean = noise + torch.cat([centres[labels], centres[test]])
    good = reprobe(clean[:600], labels, {"test": (clean[600:], test)})
    assert set(good) == {"linear_test", "linear_few_test", "knn_test"}
    assert min(good.values()) > 0.9
    bad = reprobe(noise[:600], labels, {"test": (noise[600:], test)})
    assert max(bad.values()) < 0.55


def test_representations_that_share_nothing_are_not_called_alike_because_images_are_few() -> None:
    generator = torch.Generator().manual_seed(0)

    def gaussian(rows: int, dim: int) -> torch.Tensor:
        return torch.randn(rows, dim, generator=generator)

    x, y = gaussian(100, 512), gaussian(100, 512)
    assert linear_cka(x, y) == pytest.approx(0.83, abs=0.01), "what the plain estimate says of independent ones"
    draws = [unbiased_cka(gaussian(100, 512), gaussian(100, 512)) for _ in range(20)]
    assert abs(float(np.mean(draws))) < 0.02
    assert unbiased_cka(x, x) == pytest.approx(1)
    turned = torch.linalg.qr(gaussian(512, 512)).Q
    assert unbiased_cka(x, 3 * x @ turned + 7) == pytest.approx(1, abs=1e-4)
    assert math.isnan(unbiased_cka(x[:9], y[:9]))
    assert math.isnan(unbiased_cka(x, torch.ones(100, 4)))


@pytest.mark.parametrize(("rows", "dim"), [(12, 30), (40, 5)])
def test_unbiased_cka_is_that_of_the_gram_matrices(rows: int, dim: int) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(rows, dim))
    y = x @ random.normal(size=(dim, 3)) + random.normal(size=(rows, 3))

    def hsic(a: np.ndarray, b: np.ndarray) -> float:  # Song et al. 2012, eq. 5, as it is printed
        k, l = a @ a.T, b @ b.T  # noqa: E741
        np.fill_diagonal(k, 0)
        np.fill_diagonal(l, 0)
        one, n = np.ones(len(a)), len(a)
        middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        return float((np.trace(k @ l) + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3)))

    wanted = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    assert unbiased_cka(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(wanted, rel=1e-9)
    assert measures.rus(-0.1, 0.5) == 0
