from __future__ import annotations

import math

import pytest
import torch

from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.epochs import Seconds
from unlabeled.forgetting.judge.case import Task
from unlabeled.forgetting.methods import METHODS, forgetter_class
from unlabeled.forgetting.methods.finetune import FineTune, FineTuneConfig
from unlabeled.forgetting.protocol import Protocol
from unlabeled.forgetting.store import Trained
from unlabeled.forgetting.tuning import badness, best_of, candidates

UNTUNED = {"nmc", "lda", "ridge", "head_only", "retrain", "slug"}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gets_as_many_tries(name: str) -> None:
    method = forgetter_class(name)()
    tries = candidates(method, 5)
    assert len(tries) == (1 if name in UNTUNED else 5)
    assert tries[0] is method, "the first is the method as it was asked for"
    for setting, low, high in method.config.tunes:
        found = [getattr(each.config, setting) for each in tries[1:]]
        assert all(low <= value <= high for value in found)
        assert len(set(found)) == 4
        assert max(found) / min(found) > (high / low) ** 0.4, "they spread over the range"


def test_what_was_set_is_not_tuned() -> None:
    assert len(candidates(FineTune(FineTuneConfig(lr=1e-3)), 5)) == 1
    assert len(candidates(FineTune(FineTuneConfig(epochs=1)), 5)) == 5
    assert len(candidates(FineTune(), 1)) == 1


def test_badness_is_what_is_left_and_what_was_lost(model: Classifier, data: ForgetData) -> None:
    """Class 0 is to go: the original still gives its answer to all of them; one that never does has lost nothing."""
    gone = ForgetData(data.retain, data.forget, data.unseen, "class").without_labels()
    assert badness(model, model, gone, "cpu", 0) == pytest.approx(1, abs=0.1)
    good = model.copy()
    with torch.no_grad():
        good.last_linear("test").bias[0] -= 1e6
    assert badness(model, good, gone, "cpu", 0) < 0.05
    broken = model.copy()
    with torch.no_grad():
        broken.last_linear("test").bias[1] += 1e6
    assert badness(model, broken, gone, "cpu", 0) == pytest.approx(0.5, abs=0.1), "half of what is kept is lost"


def test_the_best_try_wins_and_all_are_paid_for(model: Classifier) -> None:
    tries = candidates(FineTune(), 3)
    scores = {0: 0.5, 1: math.nan, 2: 0.2}
    models = [model.copy() for _ in tries]

    def make(method: FineTune) -> Trained:
        place = tries.index(method)
        return Trained(models[place], Seconds(1.0 + place, 10.0), {"place": place})

    best = best_of(tries, make, lambda made: scores[next(n for n, m in enumerate(models) if m is made)])
    assert best.model is models[2]
    assert best.facts["place"] == 2
    assert best.facts["tuning"]["chosen"] == 2
    assert [each["badness"] for each in best.facts["tuning"]["tries"]] == [0.5, None, 0.2]
    assert best.facts["settings"]["lr"] == tries[2].config.lr
    assert 6 <= best.seconds.wall < 7
    assert 30 <= best.seconds.processor < 31


def test_tuning_reads_no_label(model: Classifier, data: ForgetData, train, test, split, tmp_path) -> None:
    """With the labels of the forget images all wrong, the method that reads none is tuned to the same bits."""
    kind = forgetter_class("lfssd")
    wrong = train.relabelled(
        torch.where(
            torch.isin(torch.arange(len(train)), torch.from_numpy(split.forget_rows)),
            (train.labels + 1) % 3,
            train.labels,
        )
    )
    made = [
        Protocol(Task(model, images, test, split, test.without_labels()), None, tmp_path / str(n), tune=3).forgotten(
            kind(), 0
        )
        for n, images in enumerate((train, wrong))
    ]
    assert fingerprint(made[0].model) == fingerprint(made[1].model)
    assert made[0].facts == made[1].facts
    tried = made[0].facts["tuning"]["tries"]
    assert len(tried) == 3
    assert tried[made[0].facts["tuning"]["chosen"]]["badness"] == min(each["badness"] for each in tried)
