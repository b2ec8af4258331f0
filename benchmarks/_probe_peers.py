"""Every probe against its peer on the same features."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _probe_data import KS, LEARNING_RATES, TEMPERATURES, Size, features, timed

from unlabeled.probes.knn import KNNProbe
from unlabeled.probes.lda import LDAProbe
from unlabeled.probes.linear import LinearProbe
from unlabeled.probes.logistic import LogisticProbe
from unlabeled.probes.nmc import NearestMeanProbe
from unlabeled.probes.ridge import RidgeProbe
from unlabeled.probes.statistics import Statistics


def bench_knn(size: Size) -> dict[str, Any]:
    n, test, dim, classes = size
    from lightly.utils.benchmarking import knn_predict
    from sklearn.neighbors import KNeighborsClassifier

    X, y, Z, _ = features(n, test, dim, classes)
    bank, query = (F.normalize(torch.from_numpy(a), dim=1) for a in (X, Z))
    tile = max(1, (1 << 24) // n)
    out = torch.empty(tile, n)

    def product() -> None:
        for start in range(0, test, tile):
            part = query[start : start + tile]
            torch.mm(part, bank.T, out=out[: len(part)])

    def separately(k: int, temperature: float, rows: int) -> torch.Tensor:
        """One (k, τ) computed on its own, similarities and all, as solo-learn's WeightedKNNClassifier does."""
        answers = []
        for start in range(0, rows, 500):
            similarity, index = (query[start : start + 500] @ bank.T).topk(k, dim=1)
            votes = torch.zeros(len(index), classes).scatter_add_(1, labels[index], (similarity / temperature).exp())
            answers.append(votes.argmax(1))
        return torch.cat(answers)

    labels = torch.from_numpy(y)
    ks = [k for k in KS if k < n]
    probe = KNNProbe().fit(X, y)
    bare, _ = timed(product, 2)
    ours, _ = timed(lambda: probe.sweep(Z, ks, TEMPERATURES), 2)
    single, mine = timed(lambda: KNNProbe(200, 0.1).fit(X, y).predict(Z), 2)
    rows = min(test, 1000)
    alone, _ = timed(lambda: separately(200, 0.1, rows))
    lightly_seconds, theirs = timed(
        lambda: torch.cat(
            [knn_predict(q, bank.T, labels, num_classes=classes, knn_k=200, knn_t=0.1)[:, 0] for q in query.split(500)]
        )
    )
    few = min(test, 1000)
    sklearn = KNeighborsClassifier(20, metric="cosine", algorithm="brute").fit(X, y).predict(Z[:few])
    uniform = KNNProbe(20, weights="uniform").fit(X, y).predict(Z[:few])
    return {
        "combinations": len(ks) * len(TEMPERATURES),
        "bare_product_s": bare,
        "sweep_s": ours,
        "sweep_over_product": ours / bare,
        "separate_s": alone * test / rows * len(ks) * len(TEMPERATURES),
        "separate_over_sweep": alone * test / rows * len(ks) * len(TEMPERATURES) / ours,
        "single_k_s": single,
        "lightly_single_k_s": lightly_seconds,
        "lightly_over_single": lightly_seconds / single,
        "agrees_with_lightly": float((torch.from_numpy(mine) == theirs).float().mean()),
        "agrees_with_sklearn": float((sklearn == uniform).mean()),
    }


def bench_linear(size: Size) -> dict[str, Any]:
    n, _, dim, classes = size
    rows = min(n, 20_000 if classes <= 100 else 5_000)
    X, y, _, _ = features(rows, 10, dim, classes)
    settings: dict[str, Any] = {"weight_decay": 0.0, "normalise": "standard", "epochs": 3, "min_steps": 1}

    x, target = torch.from_numpy((X - X.mean(0)) / X.std(0)), torch.from_numpy(y)

    def autograd(lr: float) -> None:
        """The usual probe: nn.Linear, cross-entropy, torch.optim.SGD, one batch after another."""
        head = torch.nn.Linear(dim, classes)
        sgd = torch.optim.SGD(head.parameters(), lr=lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 3 * -(-rows // 256))
        for _ in range(3):
            for part in torch.randperm(rows).split(256):
                sgd.zero_grad()
                F.cross_entropy(head(x[part]), target[part]).backward()
                sgd.step()
                schedule.step()

    stacked, swept = timed(lambda: LinearProbe(LEARNING_RATES, **settings).sweep(X, y), 2)
    separate, alone = timed(lambda: [LinearProbe(lr, **settings).sweep(X, y)[0] for lr in LEARNING_RATES])
    usual, _ = timed(lambda: [autograd(lr) for lr in LEARNING_RATES])
    batch, heads = x[:256], len(LEARNING_RATES) * classes
    weight, error = torch.randn(dim, heads), torch.randn(256, heads)
    logits, gradient = torch.empty_like(error), torch.empty_like(weight)

    def products() -> None:
        """The two float32 products of a step, which no way of stacking can avoid; where they go is there already."""
        for _ in range(20):
            torch.mm(batch, weight, out=logits)
            torch.mm(batch.T, error, out=gradient)

    floor = timed(products, 2)[0] / 20 * 3 * -(-rows // 256)
    difference = max(float((a[1] - b[1]).abs().max() / b[1].abs().max()) for a, b in zip(swept, alone, strict=True))
    return {
        "rows": rows,
        "learning_rates": len(LEARNING_RATES),
        "stacked_s": stacked,
        "one_by_one_s": separate,
        "autograd_one_by_one_s": usual,
        "two_products_alone_s": floor,
        "most_that_stacking_can_give": usual / floor,
        "one_by_one_over_stacked": separate / stacked,
        "autograd_over_stacked": usual / stacked,
        "relative_weight_difference": difference,
    }


def bench_closed(size: Size) -> dict[str, Any]:
    n, test, dim, classes = size
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import NearestCentroid

    X, y, Z, _ = features(n, test, dim, classes)
    alphas = np.logspace(-2, 6, 20)

    def all_three() -> tuple[Any, ...]:
        sums = Statistics(dim)
        sums.add(X, y)
        probes = (NearestMeanProbe(), LDAProbe(shrinkage=0.1), RidgeProbe(alphas, relative=False))
        return tuple(probe.from_statistics(sums).predict(Z) for probe in probes), probes[2]

    wall = time.perf_counter()
    seconds, ((nmc, lda, _), ridge) = timed(all_three)
    wall = time.perf_counter() - wall
    sklearn_s, centroid = timed(lambda: NearestCentroid().fit(X, y))
    lda_s, discriminant = timed(lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(X, y))
    targets = np.where(y[:, None] == np.arange(classes), 1.0, -1.0).astype(np.float32)
    ridge_s, reference = timed(lambda: Ridge(alphas[10]).fit(X.astype(np.float64), targets))
    weight, _ = ridge.weights(float(alphas[10]))
    return {
        "all_three_s": seconds,
        "all_three_wall_s": wall,
        "sklearn_nmc_s": sklearn_s,
        "sklearn_lda_s": lda_s,
        "sklearn_ridge_one_alpha_s": ridge_s,
        "nmc_agrees": float((nmc == centroid.predict(Z)).mean()),
        "lda_agrees": float((lda == discriminant.predict(Z)).mean()),
        "ridge_relative_difference": float(np.abs(weight - reference.coef_).max() / np.abs(reference.coef_).max()),
    }


def bench_logistic(size: Size) -> dict[str, Any]:
    n, test, dim, classes = size
    from sklearn.linear_model import LogisticRegression

    if classes > 100:
        n = min(n, 20_000)
    X, y, _, _ = features(n, test, dim, classes)
    penalties = np.logspace(-2, -5, 20)
    ours, path = timed(lambda: LogisticProbe(penalties).path(X, y))
    last = float(penalties[-1])
    reached = path[-1][0].objective
    # The shortest scikit-learn fit that reaches the objective of the path's last point, the hardest of the 20.
    for iterations in (25, 50, 100, 200, 400, 800):
        seconds, model = timed(
            lambda: LogisticRegression(C=1 / (n * last), tol=1e-6, max_iter=iterations).fit(X, y)  # noqa: B023
        )
        loss = -model.predict_log_proba(X)[np.arange(n), y].mean() + last / 2 * np.square(model.coef_).sum()
        if loss <= reached * 1.001 or model.n_iter_[0] < iterations:
            break
    return {
        "rows": n,
        "penalties": len(penalties),
        "path_s": ours,
        "path_iterations": sum(point.iterations for point, _, _ in path),
        "sklearn_one_fit_s": seconds,
        "sklearn_iterations": int(model.n_iter_[0]),
        "sklearn_over_path": seconds / ours,
        "objective": reached,
        "sklearn_objective": float(loss),
    }
