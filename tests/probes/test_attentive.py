"""The attentive probe finds a token that a mean over tokens hides."""

import numpy as np
import pytest
import torch

from unlabeled.probes.arrays import InputError
from unlabeled.probes.attentive import AttentiveProbe
from unlabeled.probes.logistic import LogisticProbe


def hidden(n=300, seed=0, tokens=9):
    """Rows of 9 tokens of 8 channels: one token, marked by channel 0, says the class in channels 1 and 2."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    X = rng.normal(size=(n, 8, tokens)).astype(np.float32)
    at = rng.integers(0, tokens, n)
    X[np.arange(n), 0, at] += 12
    X[np.arange(n), 1, at] += np.where(y == 1, 3, -3)
    return X.reshape(n, -1), y


def test_looks_where_the_answer_is():
    (X, y), (Z, z) = hidden(), hidden(seed=1)
    probe = AttentiveProbe(9, queries=2, lr=1e-2, min_steps=150).fit(X, y)
    mean = LogisticProbe().fit(X.reshape(300, 8, 9).mean(2), y).score(Z.reshape(300, 8, 9).mean(2), z)
    assert probe.score(Z, z) > max(mean + 0.05, 0.95)


def test_scores_are_the_formula():
    X, y = hidden(60)
    probe = AttentiveProbe(9, queries=2, lr=1e-2, epochs=1, min_steps=3).fit(X, y)
    tokens = X.reshape(60, 8, 9).transpose(0, 2, 1).astype(np.float64)
    tokens = (tokens - tokens.mean((0, 1))) / np.sqrt(tokens.var((0, 1)) + 1e-6)
    look = np.exp(tokens @ probe.query_.double().numpy().T / np.sqrt(8))
    look /= look.sum(1, keepdims=True)
    pooled = np.einsum("ntq,ntd->nqd", look, tokens).reshape(60, 16)
    wanted = pooled @ probe.coef_.double().numpy().T + probe.intercept_.double().numpy()
    assert torch.allclose(probe.scores(X).double(), torch.from_numpy(wanted), atol=1e-4)


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        (AttentiveProbe(7), "72 features are no 7 tokens"),
        (AttentiveProbe(0), "tokens must be at least 1"),
        (AttentiveProbe(lr=-1.0), "lr must be above 0"),
    ],
)
def test_bad_input(probe, said):
    with pytest.raises(InputError, match=said):
        probe.fit(*hidden(20))
