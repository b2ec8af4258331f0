"""Manners that all probes share: scikit-learn's checks, numpy and torch, labels of any type, saving, bad input."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from unlabeled.core.errors import UserError
from unlabeled.probes import catalog
from unlabeled.probes.arrays import InputError
from unlabeled.probes.attentive import AttentiveProbe
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.knn import KNNProbe
from unlabeled.probes.lda import LDAProbe, MahalanobisProbe
from unlabeled.probes.linear import LinearProbe
from unlabeled.probes.logistic import LogisticProbe
from unlabeled.probes.nmc import NearestMeanProbe
from unlabeled.probes.ridge import RidgeProbe
from unlabeled.probes.storage import load, save

SETTINGS = {
    "knn": {"k": 5},
    "linear": {"lr": (0.03, 0.3), "weight_decay": 0.0, "normalise": "standard", "min_steps": 200},
    "logistic": {"penalty": (1e-2, 1e-4)},
    "attentive": {"lr": 3e-2, "min_steps": 150},
}
PROBES = [catalog.probe_class(name)(**SETTINGS.get(name, {})) for name in catalog.PROBES] + [MahalanobisProbe("class")]


def names(probe):
    return type(probe).__name__ + ("-class" if getattr(probe, "covariance", "") == "class" else "")


def blobs(n=200, dim=6, classes=4, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    centres = np.random.default_rng(99).normal(size=(classes, dim)) * 4
    return (centres[y] + rng.normal(size=(n, dim)) + offset).astype(np.float32), y


@parametrize_with_checks(PROBES)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("probe", PROBES, ids=names)
class TestEveryProbe:
    def test_learns(self, probe):
        X, y = blobs()
        Z, z = blobs(seed=1)
        assert clone(probe).fit(X, y).score(Z, z) > 0.95

    def test_torch_gives_what_numpy_gives(self, probe):
        X, y = blobs()
        Z, _ = blobs(seed=1)
        a = clone(probe).fit(X, y)
        b = clone(probe).fit(torch.from_numpy(X), torch.from_numpy(y))
        predicted = b.predict(torch.from_numpy(Z))
        assert isinstance(predicted, torch.Tensor)
        assert (predicted.numpy() == a.predict(Z)).all()
        assert torch.allclose(a.scores(Z), b.scores(torch.from_numpy(Z)), rtol=1e-4, atol=1e-5)

    def test_half_precision_memory_map_and_bank(self, probe, tmp_path):
        X, y = blobs()
        np.save(tmp_path / "x.npy", X.astype(np.float16))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        a = clone(probe).fit(FeatureBank.from_arrays(mapped, y))
        b = clone(probe).fit(X.astype(np.float16).astype(np.float32), y)
        assert torch.allclose(a.scores(X), b.scores(X), rtol=1e-3, atol=1e-4)
        assert a.score(FeatureBank.from_arrays(X, y)) == b.score(X, y)

    @pytest.mark.parametrize("dtype", ["U6", object, "O", np.uint8, np.int64, np.float64, bool])
    def test_labels_of_any_type(self, probe, dtype):
        X, y = blobs(n=600, classes=2)
        labels = np.array(["cat", "dog"])[y].astype(dtype) if dtype in ("U6", object) else y.astype(dtype)
        fitted = clone(probe).fit(X, labels)
        assert fitted.score(X, labels) > 0.95
        assert (fitted.predict(X) == labels).mean() > 0.95

    def test_unseen_labels_in_test_are_wrong_answers(self, probe):
        X, y = blobs()
        fitted = clone(probe).fit(X, y)
        odd = np.where(np.arange(len(y)) < len(y) // 2, 77, y)
        assert fitted.score(X, odd) <= 0.5

    def test_classes_missing_from_test(self, probe):
        X, y = blobs()
        fitted = clone(probe).fit(X, y)
        assert fitted.score(X[y == 2], y[y == 2]) > 0.9

    def test_saves_and_loads(self, probe, tmp_path):
        X, y = blobs()
        X = pd.DataFrame(X, columns=list("uvwxyz"))
        fitted = clone(probe).fit(X, np.array(["a", "bb", "ccc", "d"])[y])
        save(fitted, tmp_path / "probe.npz")
        again = load(tmp_path / "probe.npz")
        assert repr(again) == repr(fitted)
        assert again.feature_names_in_.tolist() == list("uvwxyz")
        assert torch.equal(again.scores(X), fitted.scores(X))
        assert (again.predict(X) == fitted.predict(X)).all()
        np.load(tmp_path / "probe.npz", allow_pickle=False)["header"]

    def test_works_in_a_pipeline(self, probe):
        X, y = blobs()
        assert cross_val_score(make_pipeline(StandardScaler(), clone(probe)), X, y, cv=2).mean() > 0.9

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_refuses_nan_and_infinity(self, probe, value):
        X, y = blobs()
        fitted = clone(probe).fit(X, y)
        X[3, 1] = value
        for bad in (X, torch.from_numpy(X)):
            with pytest.raises(InputError, match="NaN or infinity"):
                clone(probe).fit(bad, y)
            with pytest.raises(InputError, match="NaN or infinity"):
                fitted.predict(bad)

    def test_large_finite_values_are_not_mistaken_for_infinity(self, probe):
        X, y = blobs()
        X[:, 0] += 1e37
        fitted = clone(probe).fit(FeatureBank.from_arrays(X * 0.5, y))
        assert len(fitted.classes_) == 4

    @pytest.mark.parametrize(
        ("X", "y", "words"),
        [
            (np.empty((0, 3)), np.empty(0, int), "0 sample"),
            (torch.empty(0, 3), torch.empty(0, dtype=torch.int64), "at least one row"),
            (np.ones(5), np.arange(5), "Reshape your data"),
            (torch.ones(5), np.arange(5), "Reshape your data"),
            (csr_array(np.eye(4)), np.arange(4), "Sparse"),
            (np.ones((5, 2)), np.arange(4), "inconsistent"),
            (np.ones((5, 2)), None, "requires y"),
            (np.ones((4, 2)), [0.0, 1.0, np.nan, 1.0], "NaN"),
            (np.ones((4, 2)), np.array([0, "a", 1, "b"], dtype=object), "one type"),
        ],
    )
    def test_refuses_what_is_no_data(self, probe, X, y, words):
        with pytest.raises(UserError, match=words):
            clone(probe).fit(X, y)

    def test_refuses_another_dimension(self, probe):
        X, y = blobs()
        fitted = clone(probe).fit(X, y)
        for other in (X[:, :3], torch.from_numpy(X[:, :3])):
            with pytest.raises(InputError, match="3 features"):
                fitted.predict(other)

    def test_refuses_text_against_numbers(self, probe):
        X, y = blobs()
        with pytest.raises(InputError, match="text"):
            clone(probe).fit(X, y).score(X, y.astype(str))

    def test_one_class(self, probe):
        X, y = blobs(classes=1)
        if isinstance(probe, (AttentiveProbe, LinearProbe, LogisticProbe)):
            with pytest.raises(InputError, match="two classes"):
                clone(probe).fit(X, y)
        else:
            assert (clone(probe).fit(X, y).predict(X) == 0).all()


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (KNNProbe(k=0), "k must be"),
        (KNNProbe(temperature=0.0), "temperature"),
        (KNNProbe(metric="cosin"), "Did you mean 'cosine'"),
        (LDAProbe(shrinkage=2.0), "shrinkage"),
        (LDAProbe(priors="even"), "priors"),
        (MahalanobisProbe("tide"), "Did you mean 'tied'"),
        (NearestMeanProbe("cos"), "metric"),
        (RidgeProbe(alpha=-1.0), "alpha"),
        (LinearProbe(lr=-1.0), "lr"),
        (LinearProbe(normalise="standart"), "Did you mean 'standard'"),
        (LinearProbe(normalise=()), "normalise"),
        (LinearProbe(epochs=0), "epochs"),
        (LogisticProbe(penalty=-1.0), "penalty"),
    ],
)
def test_refuses_bad_parameters(probe, words):
    with pytest.raises(InputError, match=words):
        probe.fit(*blobs())


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04"])
def test_refuses_a_damaged_file(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load(tmp_path / "x.npz")
    with pytest.raises(UserError, match="there is no probe"):
        load(tmp_path / "y.npz")


def test_a_probe_that_no_list_has_is_not_written(tmp_path):
    class Own(NearestMeanProbe):
        pass

    with pytest.raises(UserError, match="Own: it could not be read again"):
        save(Own().fit([[0.0], [1.0]], [0, 1]), tmp_path / "own.npz")
    assert not list(tmp_path.iterdir())


def test_a_file_makes_only_records_of_its_own_probe(tmp_path):
    save(KNNProbe(k=(1, 2)).fit([[0.0], [1.0], [2.0]], [0, 1, 1]), tmp_path / "knn.npz")
    with np.load(tmp_path / "knn.npz") as file:
        arrays = dict(file)
    arrays["header"] = np.array(str(arrays["header"]).replace("KNNChoice", "PathPoint"))
    np.savez(tmp_path / "other.npz", **arrays)
    assert load(tmp_path / "knn.npz").choices_
    with pytest.raises(UserError, match="damaged"):
        load(tmp_path / "other.npz")
