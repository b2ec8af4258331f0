"""The suite, its intervals and draws; class-incremental learning; few labels; episodes."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, top_k_accuracy_score

from unlabeled.core.errors import UserError
from unlabeled.data.rows import held_out, per_class, share
from unlabeled.probes import incremental, intervals, run_episodes, run_few_labels, run_incremental, run_probes
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.fetril import FeTrILProbe
from unlabeled.probes.lda import LDAProbe
from unlabeled.probes.logistic import LogisticProbe
from unlabeled.probes.scoring import judge
from unlabeled.probes.storage import load, save


def bank(n=400, classes=8, dim=12, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    centres = np.random.default_rng(7).normal(size=(classes, dim)) * 3
    return FeatureBank.from_arrays((centres[y] + noise * rng.normal(size=(n, dim))).astype(np.float32), y)


def spoiled(value):
    found = bank()
    X = found.features.copy()
    X[7, 3] = value
    return FeatureBank.from_arrays(X, found.labels)


def one_class():
    return FeatureBank.from_arrays(bank().features, np.zeros(400, int))


class TestSuite:
    def test_every_probe_reports(self, tmp_path):
        from unlabeled.probes.catalog import SUITE

        report = run_probes(bank(), bank(seed=1), SUITE)
        report.write(tmp_path / "report.json")
        read = json.loads((tmp_path / "report.json").read_text())
        assert read["schema"] == "unlabeled.probes/1"
        assert list(read["probes"]) == list(SUITE)
        for name, result in read["probes"].items():
            assert result["top1"] > 0.9, name
            assert result["interval"][0] <= result["top1"] <= result["interval"][1]
            assert len(result["per_class"]) == len(read["classes"]) == 8
            assert np.trace(result["confusion"]) == round(result["top1"] * 400)
            assert result["chosen"]
            assert result["seconds"] >= 0
        assert report["lda"].accuracy.top1 == LDAProbe().fit(bank()).score(bank(seed=1))

    def test_is_repeatable(self):
        first, again = (run_probes(bank(), bank(seed=1), ("linear", "knn"), seed=3).asdict() for _ in range(2))
        for report in (first, again):
            for result in report["probes"].values():
                result.pop("seconds")
        assert first == again

    def test_labels_that_are_text(self):
        train, test = bank(), bank(seed=1)
        named = [FeatureBank.from_arrays(b.features, np.array(list("abcdefgh"))[b.labels]) for b in (train, test)]
        probes = ("logistic", "knn", "lda")
        text, numbers = run_probes(*named, probes), run_probes(train, test, probes)
        assert text.classes == tuple("abcdefgh")
        assert [r.accuracy for r in text.results] == [r.accuracy for r in numbers.results]

    def test_one_class_is_answered_where_that_makes_sense(self):
        one = one_class()
        report = run_probes(one, one, ("nmc", "lda", "ridge", "knn", "mahalanobis"))
        assert all(r.accuracy.top1 == 1.0 for r in report.results)

    def test_names_and_notes(self):
        train, test = bank(), bank(seed=1)
        named = FeatureBank(train.features, train.labels, "f", tuple("abcdefgh"))
        assert run_probes(named, test, ("nmc",)).classes == tuple("abcdefgh")
        odd = np.where(test.labels == 3, 50, test.labels)
        report = run_probes(train, FeatureBank.from_arrays(test.features, odd), ("nmc",))
        assert report["nmc"].accuracy.unseen == int((odd == 50).sum())
        assert report["nmc"].accuracy.per_class[3] is None
        assert len(report.notes) == 2

    @pytest.mark.parametrize(
        ("train", "test", "probes", "words"),
        [
            (bank(), bank(), ("liner",), "Did you mean 'linear'"),
            (bank().without_labels(), bank(), ("nmc",), "training bank has no labels"),
            (bank(), bank().without_labels(), ("nmc",), "test bank has no labels"),
            (bank(), bank(dim=5), ("nmc",), "12 features in training, 5 in test"),
            (bank(), FeatureBank.from_arrays(bank().features, bank().labels.astype(str)), ("nmc",), "text"),
            (one_class(), bank(), ("nmc", "linear"), "at least two classes"),
            (one_class(), bank(), ("logistic",), "at least two classes"),
            (spoiled(np.nan), bank(), ("nmc",), "NaN or infinity"),
            (spoiled(np.inf), bank(), ("knn",), "NaN or infinity"),
            (bank(), spoiled(-np.inf), ("lda",), "NaN or infinity"),
            (FeatureBank(np.empty((0, 12), np.float32), np.empty(0, int)), bank(), ("ridge",), "0 sample"),
            (bank(), FeatureBank(np.empty((0, 12), np.float32), np.empty(0, int)), ("ridge",), "0 sample"),
        ],
    )
    def test_says_what_is_wrong(self, train, test, probes, words):
        with pytest.raises(UserError, match=words):
            run_probes(train, test, probes)


def test_judge_against_scikit_learn():
    rng = np.random.default_rng(0)
    import torch

    scores, labels = torch.from_numpy(rng.normal(size=(300, 9)).astype(np.float32)), rng.integers(0, 9, 300)
    result = judge(scores, labels, np.arange(9))
    assert result.confusion == confusion_matrix(labels, scores.argmax(1)).tolist()
    assert result.top5 == pytest.approx(top_k_accuracy_score(labels, scores.numpy(), k=5))
    assert result.top1 == pytest.approx((scores.argmax(1).numpy() == labels).mean())


def test_no_interval_without_answers():
    with pytest.raises(UserError, match="n >= 1"):
        intervals.accuracy_interval(0, 0)
    with pytest.raises(UserError, match="at least one"):
        intervals.mean_interval([])
    assert intervals.mean_interval([0.7]) is None
    assert intervals.mean_interval([1.0, 1.0, 1.0]) is None


@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.floats(0.05, 0.9), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_splits(codes, fraction, seed):
    rows = np.unique(codes, return_inverse=True)[1]
    kept, held = held_out(rows, fraction, seed)
    assert sorted([*kept, *held]) == list(range(len(rows)))
    assert set(rows[kept]) == set(rows)
    for c in set(rows):
        assert abs((rows[held] == c).sum() - fraction * (rows == c).sum()) <= 1
    assert (np.bincount(rows[per_class(rows, 3, seed)]) == np.minimum(np.bincount(rows), 3)).all()
    assert set(rows[share(rows, fraction, seed)]) == set(rows)


class TestIncremental:
    def test_closed_forms_end_at_the_joint_solution(self):
        train, test = bank(), bank(seed=1, noise=2.0)
        report = run_incremental(train, test, ("nmc", "lda", "ridge", "mahalanobis"), steps=4)
        joint = run_probes(train, test, ("nmc", "lda", "ridge", "mahalanobis"))
        for result in report.results:
            assert result.final == joint[result.name].accuracy.top1
            assert len(result.seen) == 4
            assert [len(row) for row in result.matrix] == [1, 2, 3, 4]
            assert result.average == pytest.approx(np.mean(result.seen))
            assert len(result.forgetting) == 3
        json.dumps(report.asdict())

    def test_forgetting_is_the_fall_from_the_best(self):
        summary = incremental._summary("x", [1, 1, 1], [[0.9], [0.5, 1.0], [0.7, 0.4, 1.0]], (0, 1))
        assert summary.forgetting == pytest.approx([0.4, (0.2 + 0.6) / 2])

    def test_fetril_remembers_and_saves(self, tmp_path):
        train, test = bank(), bank(seed=1)
        (result,) = run_incremental(train, test, ("fetril",), steps=4, first=4).results
        assert result.final > 0.9
        (one_by_one,) = run_incremental(train, test, ("fetril",), steps=8).results
        assert one_by_one.seen[0] == 1.0
        assert one_by_one.final > 0.9
        probe = FeTrILProbe().fit(train)
        save(probe, tmp_path / "x.npz")
        assert (load(tmp_path / "x.npz").predict(test.features) == probe.predict(test.features)).all()

    def test_fetril_learns_the_pseudo_features_of_the_paper(self):
        """Old means, and rows of the new class whose mean is most similar (cosine), moved there; of unit length."""
        train = bank(n=300, classes=5)
        X, y = train.features.astype(np.float64), train.labels
        old, new = y < 3, y >= 3
        means = np.stack([X[y == c].mean(0) for c in range(5)])
        unit = means / np.linalg.norm(means, axis=1, keepdims=True)
        rows, labels = [], []
        for c in range(5):
            lender = c if c >= 3 else 3 + int(np.argmax(unit[3:] @ unit[c]))
            rows.append(X[y == lender] + means[c] - means[lender])
            labels += [c] * len(rows[-1])
        stacked = np.concatenate(rows)
        stacked /= np.linalg.norm(stacked, axis=1, keepdims=True)
        expected = LogisticProbe(1e-4, tol=1e-9).fit(stacked.astype(np.float32), labels)
        probe = FeTrILProbe(rows_per_class=10_000)
        probe.partial_fit(train.features[old], y[old]).partial_fit(train.features[new], y[new])
        asked = X / np.linalg.norm(X, axis=1, keepdims=True)
        assert np.allclose(probe.predict_proba(X), expected.predict_proba(asked.astype(np.float32)), atol=5e-3)

    @pytest.mark.parametrize(("probes", "steps", "words"), [(("linear",), 2, "class by class"), (("nmc",), 9, "steps")])
    def test_says_what_is_wrong(self, probes, steps, words):
        with pytest.raises(UserError, match=words):
            run_incremental(bank(), bank(), probes, steps=steps)


class TestFewLabels:
    @pytest.mark.parametrize(
        ("labels", "rows", "probes"),
        [("10%", 40, ("nmc",)), ("2-per-class", 16, ("nmc", "linear")), ("9" * 30 + "-per-class", 400, ("nmc",))],
    )
    def test_draws(self, labels, rows, probes):
        report = run_few_labels(bank(), bank(seed=1), labels, probes, draws=2)
        assert [result.name for result in report.results] == list(probes)
        assert abs(report.rows - rows) <= 4
        for result in report.results:
            assert len(result.draws) == 2
            assert result.top1 > 0.8
            if len(set(result.draws)) == 1:  # of all rows, or all right
                assert result.interval is None
            else:
                assert result.interval[0] < result.top1 < result.interval[1]
        json.dumps(report.asdict())

    @pytest.mark.parametrize("labels", ["0%", "ten", "5", "0-per-class", "120%"])
    def test_refuses(self, labels):
        with pytest.raises(UserError, match="not understood"):
            run_few_labels(bank(), bank(), labels)


class TestEpisodes:
    @pytest.mark.parametrize("metric", ["cosine", "euclidean"])
    def test_more_shots_are_better_than_chance(self, metric):
        one = run_episodes(bank(noise=2.5), shots=1, queries=10, episodes=150, metric=metric)
        five = run_episodes(bank(noise=2.5), shots=5, queries=10, episodes=150, metric=metric, centre=None)
        assert 0.2 < one.accuracy < five.accuracy
        assert one.interval[0] < one.accuracy < one.interval[1]

    def test_noise_is_chance(self):
        X = np.random.default_rng(0).normal(size=(600, 20))
        noise = FeatureBank.from_arrays(X, np.arange(600) % 10)
        result = run_episodes(noise, episodes=300, centre=noise)
        assert result.accuracy == pytest.approx(0.2, abs=0.02)

    def test_refuses_too_few_rows(self):
        with pytest.raises(UserError, match="Use fewer"):
            run_episodes(bank(n=40), queries=30)
        with pytest.raises(UserError, match="5 features to centre on, 12 in episodes"):
            run_episodes(bank(), centre=bank(dim=5))


def test_probes_that_need_square_sums_refuse_too_many_features():
    X = np.random.default_rng(0).normal(size=(12, 8193)).astype(np.float32)
    wide = FeatureBank.from_arrays(X, np.arange(12) % 2)
    with pytest.raises(UserError, match=r"8,193 x 8,193 .* --probes knn,nmc"):
        run_probes(wide, wide, ("knn", "lda", "nmc"))
    assert run_probes(wide, wide, ("knn", "nmc"))["nmc"].accuracy.n == 12
