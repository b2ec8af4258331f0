"""The linear sweep: stacked heads are single heads, chosen on training data only."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unlabeled.core.rng import torch_generator
from unlabeled.data import rows
from unlabeled.data.rows import splits_to_choose
from unlabeled.probes.linear import LinearProbe
from unlabeled.probes.logistic import LogisticProbe


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 900)
    X = rng.normal(size=(5, 16))[y] + 1.2 * rng.normal(size=(900, 16))
    return (X * rng.uniform(0.1, 3, 16) + 2).astype(np.float32), y


def reference(X, y, lr, weight_decay, normalise, epochs, batch, seed):
    """One head by autograd and torch's SGD, on the same order of rows."""
    x = torch.from_numpy(X)
    mean, std = x.mean(0), (x.var(0, correction=0) + 1e-6).sqrt()
    x = {
        "none": x,
        "l2": F.normalize(x, dim=1),
        "scale": (x - mean) / std.square().mean().sqrt(),
        "standard": (x - mean) / std,
    }[normalise]
    head = torch.nn.Linear(x.shape[1], 5)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    groups = [{"params": [head.weight], "weight_decay": weight_decay}, {"params": [head.bias], "weight_decay": 0.0}]
    sgd = torch.optim.SGD(groups, lr=lr, momentum=0.9)
    total, step = epochs * -(-len(x) // batch), 0
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=torch_generator(seed, "linear", epoch))
        for part in order.split(batch):
            for group in sgd.param_groups:
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / total))
            sgd.zero_grad()
            F.cross_entropy(head(x[part]), torch.from_numpy(y)[part]).backward()
            sgd.step()
            step += 1
    return torch.cat([head.weight, head.bias.unsqueeze(1)], dim=1).detach()


def test_stacked_heads_are_single_heads(data):
    X, y = data
    names = ("none", "l2", "scale", "standard")
    probe = LinearProbe((0.01, 0.1, 0.5), (0.0, 1e-2), names, epochs=4, batch_size=128, min_steps=1, seed=3)
    swept = probe.sweep(X, y)
    assert len(swept) == 24
    for head, weight in swept:
        expected = reference(X, y, head.lr, head.weight_decay, head.normalise, 4, 128, 3)
        assert torch.allclose(weight, expected, atol=1e-4), head
        settings = {"epochs": 4, "batch_size": 128, "min_steps": 1, "seed": 3}
        ((_, alone),) = LinearProbe(head.lr, head.weight_decay, head.normalise, **settings).sweep(X, y)
        assert torch.allclose(weight, alone, atol=1e-4), head


def test_the_chosen_setting_is_trained_on_all_rows(data):
    X, y = data
    probe = LinearProbe((0.001, 0.1), 0.0, "standard", epochs=3, min_steps=1).fit(X, y)
    assert len(probe.heads_) == 2
    assert probe.best_ == max(probe.heads_, key=lambda h: h.accuracy)
    ((_, weight),) = LinearProbe(probe.best_.lr, 0.0, "standard", epochs=3, min_steps=1).sweep(X, y)
    assert torch.allclose(torch.cat([probe.coef_, probe.intercept_.unsqueeze(1)], 1), weight, atol=1e-6)


def test_a_diverging_setting_is_not_chosen(data):
    X, y = data
    probe = LinearProbe((1e6, 0.1), 0.0, "none", epochs=3).fit(X * 100, y)
    assert probe.best_.lr == 0.1 or probe.best_.accuracy > 0.5
    assert np.isfinite(probe.decision_function(X)).all()


def test_repeatable_and_moved_by_the_seed(data):
    X, y = data
    first, again, other = (LinearProbe(0.1, seed=s, min_steps=50).fit(X, y).coef_ for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_classes_of_one_row(data):
    X, _ = data
    probe = LinearProbe(min_steps=50).fit(X[:5], list("abcde"))
    assert set(probe.predict(X)) <= set("abcde")


def test_features_too_large_for_memory_are_read_by_batch(data, monkeypatch, tmp_path):
    X, y = data
    whole = LinearProbe(0.1, min_steps=50).fit(X, y)
    monkeypatch.setattr("unlabeled.probes.linear.BYTES_IN_MEMORY", 0)
    np.save(tmp_path / "x.npy", X)
    streamed = LinearProbe(0.1, min_steps=50).fit(np.load(tmp_path / "x.npy", mmap_mode="r"), y)
    assert torch.allclose(whole.coef_, streamed.coef_, atol=1e-6)


def test_of_few_rows_each_is_held_out_once(data):
    X, y = data
    settings = {"weight_decay": 0.0, "normalise": "standard", "epochs": 3, "min_steps": 1}
    probe = LinearProbe((0.001, 0.01, 0.1), **settings).fit(X, y)
    splits = splits_to_choose(y, 0.2, 0, "linear")
    assert sorted(np.concatenate([held for _, held in splits])) == list(range(900))
    for head in probe.heads_:
        alone = [
            LinearProbe(head.lr, **settings).fit(X[kept], y[kept]).score(X[held], y[held]) for kept, held in splits
        ]
        assert head.folds == pytest.approx(alone)
        assert head.accuracy == pytest.approx(np.mean(alone))
    assert probe.chosen()["accuracy in folds"] == [round(share, 3) for share in probe.best_.folds]


def test_the_better_half_of_many_settings_goes_on(data):
    X, y = data
    rates = tuple(float(rate) for rate in np.logspace(-5, 0, 10))
    probe = LinearProbe(rates, 0.0, "standard", epochs=3, min_steps=1).fit(X, y)
    assert [len(head.folds) for head in probe.heads_] == [5, 5, 5, 5, 2, 1, 1, 1, 1, 1]
    assert {head.lr for head in probe.heads_} == set(rates)
    assert probe.heads_[0].loss == min(head.loss for head in probe.heads_[:4])


def test_of_many_rows_one_part_is_held_out(data):
    X, y = data
    X, y = np.concatenate([X, X]), np.concatenate([y, y])
    probe = LinearProbe((0.001, 0.1), 0.0, "standard", epochs=3, min_steps=1).fit(X, y)
    assert [len(head.folds) for head in probe.heads_] == [1, 1]
    assert set(probe.chosen()) == {"lr", "weight_decay", "normalise"}


@pytest.mark.parametrize("kind", [LinearProbe, LogisticProbe])
def test_of_few_rows_the_choice_hangs_less_on_the_seed(kind, monkeypatch):
    settings = {LinearProbe: {"normalise": "standard", "min_steps": 60, "epochs": 20}, LogisticProbe: {}}[kind]

    def spread(number):
        rng = np.random.default_rng(number)
        y = np.arange(1100) % 5
        X = (rng.normal(size=(5, 16))[y] + 2 * rng.normal(size=(1100, 16))) * rng.uniform(0.3, 3, 16)
        probes = [kind(**settings, seed=seed).fit(X[:100], y[:100]) for seed in range(4)]
        return np.std([probe.score(X[100:], y[100:]) for probe in probes])

    in_folds = np.mean([spread(number) for number in (1, 6)])
    monkeypatch.setattr(rows, "FEW_ROWS", 0)
    assert np.mean([spread(number) for number in (1, 6)]) > 3 * in_folds
