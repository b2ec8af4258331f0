"""Tasks on features at hand: their figures against plain formulas, their differences against scipy."""

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.cluster import HDBSCAN
from sklearn.linear_model import LinearRegression
from sklearn.metrics import normalized_mutual_info_score, roc_auc_score
from sklearn.neighbors import NearestCentroid

from unlabeled.core.errors import UserError
from unlabeled.evaluation.compatibility import LinearMap, Representation, compatibility
from unlabeled.evaluation.paired import resampled
from unlabeled.evaluation.retrieval import retrieval
from unlabeled.evaluation.suite import Pair, Table
from unlabeled.evaluation.tasks import TASKS, Outcome, TaskConfig
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.fewshot import run_episodes

CENTRES = np.random.default_rng(9).normal(size=(6, 8)) * 1.5


class Bench:
    """Features of six Gaussian classes, with 8 channels (or as many at each of ``places``)."""

    seed, device = 0, "cpu"

    def __init__(self, places=1):
        self.places = places

    def bank(self, config, split, *, data=None, change=None, pool=None):
        rng = np.random.default_rng((split == "test") + 2 * (data is not None))
        y = np.arange(120) % 6
        X = rng.normal(size=(120, 8)) + (CENTRES[y] if data is None else 0)
        return FeatureBank(X.astype(np.float32), None if data else y, "", None)


def run(task, **options):
    return TASKS[task](TaskConfig(task=task, data="x", options=options), Bench())


def test_label_noise_has_the_gaps_of_the_paper():
    found = run("label_noise", probe="nmc", shares=[0.0, 0.4])
    train, test = (Bench().bank(None, split) for split in ("train", "test"))
    clean = NearestCentroid().fit(train.features, train.labels)
    m = found.measures
    assert m["accuracy@0%"] == pytest.approx(clean.score(test.features, test.labels))
    fitted = clean.score(train.features, train.labels)
    # where no gap is cut off at 0 they add up to the gap between training and test
    gaps = [m[f"{name}@40%"] for name in ("robustness", "rationality", "memorisation")]
    assert sum(gaps) >= fitted - m["accuracy@0%"] - 1e-9
    assert gaps[0] > 0
    assert found.value == pytest.approx((m["accuracy@0%"] + m["accuracy@40%"]) / 2) == found.per_image.mean()
    assert found.curve.points[1] == (0.4, m["accuracy@40%"])


def test_no_gap_where_the_wrong_labels_do_not_matter(monkeypatch):
    monkeypatch.setitem(globals(), "CENTRES", CENTRES * 40)
    m = run("label_noise", probe="nmc", shares=[0.0, 0.1]).measures
    assert m == {
        "accuracy@0%": 1, "accuracy@10%": 1, "robustness@10%": 0, "rationality@10%": 0, "memorisation@10%": 0,
    }  # fmt: skip


def test_open_set_never_shows_the_unknown_classes():
    found = run("open_set", known=3)
    m = found.measures
    assert 0.5 < m["oscr"] < m["closed"]  # refusing costs right answers, and lets some unknown ones in
    xs, ys = zip(*found.curve.points, strict=True)
    assert list(ys) == sorted(ys)
    assert xs[-1] == 1
    assert ys[-1] == pytest.approx(m["closed"])
    assert found.images == 120
    with pytest.raises(UserError, match="between 2 and 5"):
        run("open_set", known=6)


def test_clusters_without_a_number_and_the_number_of_classes():
    found, test = run("clusters", method="hdbscan"), Bench().bank(None, "test")
    theirs = HDBSCAN(min_cluster_size=15, copy=True).fit_predict(test.features)
    assert found.value == pytest.approx(normalized_mutual_info_score(test.labels, theirs))
    assert found.measures["noise"] == (theirs < 0).mean()
    counted = run("count", candidates=[3, 6, 12])
    assert counted.measures["classes"] == 6
    assert counted.value == min(counted.measures["estimate"] / 6, 6 / counted.measures["estimate"])


def test_retrieval_by_another_measure_is_a_mean_over_queries():
    test = Bench().bank(None, "test")
    found = run("retrieval", measure="r_precision")
    assert found.value == retrieval(test.features, test.labels)["r_precision"] == found.per_image.mean()
    with pytest.raises(UserError, match="Did you mean 'r_precision'"):
        run("retrieval", measure="r_precison")


def test_transductive_episodes_move_the_means_towards_the_queries():
    bank = Bench().bank(None, "test")
    asked = {"ways": 2, "shots": 1, "queries": 5, "episodes": 1, "seed": 3}
    plain, moved = (run_episodes(bank, **asked, transductive=yes) for yes in (False, True))
    assert moved.each != plain.each or moved.accuracy == 1
    # the same by hand, in float64
    g = np.random.default_rng
    from unlabeled.core.rng import numpy_generator

    g = numpy_generator(3, "episodes", 2, 1, 5)
    chosen = g.choice(6, 2, replace=False)
    members = [np.flatnonzero(bank.labels == c) for c in range(6)]
    X = np.stack([bank.features[g.choice(members[c], 6, replace=False)] for c in chosen]).astype(np.float64)
    X /= np.linalg.norm(X, axis=2, keepdims=True)
    shown, queries = X[:, 0], X[:, 1:].reshape(10, 8)
    means = shown.copy()
    for _ in range(10):
        logits = -10 * np.square(queries[:, None] - means).sum(2)
        share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        means = (shown + share.T @ queries) / (1 + share.sum(0)[:, None])
    best = np.square(queries[:, None] - means).sum(2).argmin(1)
    assert moved.accuracy == pytest.approx((best == np.repeat([0, 1], 5)).mean())
    assert "each" not in moved.asdict()


@pytest.mark.parametrize("task", ["few_labels", "incremental", "episodes", "retrieval", "classify", "label_noise"])
def test_figures_that_are_means_say_so(task):
    found = run(task, **({"ways": 3, "queries": 5, "episodes": 9} if task == "episodes" else {}))
    assert found.value == pytest.approx(found.per_image.mean())


def test_resamples_are_a_bootstrap_and_pair_two_models():
    a, b = (run("unknown", detector=name) for name in ("knn", "mahalanobis"))
    table = Table(("a", "b"), ("t",), {}, {("a", "t"): a, ("b", "t"): b}, {})
    [one] = table.differences()
    assert one["images"] == 240
    low, high = one["interval"]
    assert low <= one["difference"] <= high
    assert high - low < np.ptp(np.quantile(a.resamples, [0.025, 0.975])) + np.ptp(
        np.quantile(b.resamples, [0.025, 0.975])
    )
    inside, outside = (np.random.default_rng(i).normal(1 - i, size=80) for i in (0, 1))

    def auroc(k, u):
        return roc_auc_score(np.r_[np.ones(len(k)), np.zeros(len(u))], np.r_[k, u])

    ours = resampled(lambda k, u: auroc(inside[k], outside[u]), 80, 80, seed=0)
    theirs = bootstrap((inside, outside), auroc, vectorized=False, n_resamples=300, rng=0, method="percentile")
    assert ours.std() == pytest.approx(theirs.standard_error, rel=0.15)
    assert (resampled(lambda rows: rows[0], 50, seed=1) == resampled(lambda rows: rows[0], 50, seed=1)).all()


def test_compatibility_of_a_turned_copy_is_perfect_and_of_noise_is_none():
    rng = np.random.default_rng(0)
    train, test = (Bench().bank(None, split) for split in ("train", "test"))
    turn = np.linalg.qr(rng.normal(size=(8, 8))).Q
    right = rng.random(120) < 0.8

    def side(change, answers):
        banks = [FeatureBank(change(bank.features), bank.labels) for bank in (train, test)]
        return Representation(*banks, answers, {})

    old = side(lambda X: X, right)
    turned = compatibility(side(lambda X: X @ turn + 5, right), old)
    assert turned["map_r2"] == pytest.approx(1, abs=1e-3)
    assert turned["cross"] == pytest.approx(turned["old"], abs=0.01)
    assert turned["cka"] == pytest.approx(1, abs=1e-3)
    assert turned["negative_flips"] == turned["positive_flips"] == 0
    noise = compatibility(side(lambda X: rng.normal(size=X.shape), ~right), old)
    assert noise["map_r2"] < 0.05
    assert abs(noise["cka"]) < 0.1
    assert noise["cross"] < noise["old"] - 0.2
    assert noise["negative_flips"] == right.mean()
    assert noise["positive_flips"] == (~right).mean()


def test_the_map_is_least_squares_where_rows_are_many():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 5))
    Y = X @ rng.normal(size=(5, 3)) + rng.normal(size=(500, 3)) * 0.1 + 2
    assert np.allclose(LinearMap(X, Y)(X), LinearRegression().fit(X, Y).predict(X), atol=1e-2)
    with pytest.raises(UserError, match="same images"):
        LinearMap(X, Y[:-1])


def test_a_pair_is_plain_data_without_nan():
    pair = Pair("t", "a", "b", {"cka": float("nan")}, ("x",), ("y",), [[float("nan")]]).asdict()
    assert pair["measures"] == {"cka": None}
    assert pair["cka"] == [[None]]


def test_one_count_has_no_interval():
    table = Table(("a", "b"), ("t",), {}, {("a", "t"): Outcome(1.0), ("b", "t"): Outcome(0.5)}, {})
    assert table.differences()[0]["interval"] is None
