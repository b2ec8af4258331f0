from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from unlabeled.core.errors import UserError
from unlabeled.data.forget_sets import forget_split
from unlabeled.forgetting.classifier import Classifier, fingerprint, paper_cnn
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.frame import Frame
from unlabeled.forgetting.images import LabelledImages, PixelArray, Preprocess
from unlabeled.forgetting.judge.case import Task
from unlabeled.forgetting.judge.tables import stopped, verdict
from unlabeled.forgetting.methods import forgetter_class
from unlabeled.forgetting.methods.laf import LAF, LAFConfig
from unlabeled.forgetting.methods.retrain import RetrainConfig
from unlabeled.forgetting.protocol import Protocol, Row
from unlabeled.forgetting.record import write_record
from unlabeled.forgetting.training.agreement import Agreement
from unlabeled.forgetting.training.familiarity import Familiarity, log_odds, told_apart
from unlabeled.forgetting.training.stopping import FASTEST, LikeUnseen
from unlabeled.forgetting.training.supervised import train_classifier


def noise(count: int, seed: int) -> LabelledImages:
    random = np.random.default_rng(seed)
    pixels = PixelArray(random.integers(0, 256, (count, 1, 8, 8)).astype(np.uint8))
    return LabelledImages(pixels, random.integers(0, 3, count), Preprocess((0.5,), (0.3,)))


@pytest.fixture(scope="module")
def overtrained() -> Classifier:
    """A network that knows by heart what cannot be learned: labels of noise."""
    training = RetrainConfig(epochs=25, lr=2e-3, weight_decay=0.0)
    return train_classifier(paper_cnn(size=8, classes=3), noise(300, 0), Frame(training))


@pytest.fixture(scope="module")
def small() -> ForgetData:
    images, rows = noise(300, 0), np.arange(300)
    return ForgetData(images.subset(rows[30:]), images.subset(rows[:30]), noise(120, 1))


@pytest.fixture(scope="module")
def forgot(overtrained: Classifier, small: ForgetData) -> tuple[Classifier, dict]:
    checkpoint = Checkpoint()
    return LAF().forget(overtrained, small, checkpoint=checkpoint), checkpoint.facts["stopping"]


def test_told_apart_is_the_auc() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):  # with many ties
        left, right = (random.integers(-4, 5, random.integers(1, 12)) for _ in range(2))
        want = roc_auc_score(np.repeat([1, 0], [len(left), len(right)]), np.concatenate([left, right]))
        assert told_apart(torch.tensor(left).float(), torch.tensor(right).float()) == pytest.approx(want)


def test_log_odds_are_those_of_the_probability() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    answers = torch.tensor([0, 1, 2, 3, 0, 1])
    p = logits.softmax(1)[torch.arange(6), answers]
    assert torch.allclose(log_odds(logits, answers), torch.log(p / (1 - p)))


def test_without_a_head_views_are_compared(overtrained: Classifier, small: ForgetData) -> None:
    encoder = Classifier(overtrained.extractor)
    known, unknown = Familiarity(encoder, small.forget, small.unseen, "cpu")(encoder)
    image = small.forget.batch(np.array([4]))
    moved = [image.flip(3), *(image.roll(by, dim) for dim in (2, 3) for by in (1, -1))]
    with torch.no_grad():
        want = [float(F.cosine_similarity(encoder.embed(image), encoder.embed(view))) for view in moved]
    assert float(known[4]) == pytest.approx(np.mean(want), abs=1e-5)
    assert (len(known), len(unknown)) == (30, 120)


def agreement(original: Classifier, model: Classifier, images: LabelledImages) -> float:
    return Agreement(original, images, "cpu", "test")(model)


def test_laf_stops_where_the_images_look_like_unseen_ones(
    overtrained: Classifier, small: ForgetData, forgot: tuple[Classifier, dict]
) -> None:
    model, fact = forgot
    known = Familiarity(overtrained, small.forget, small.unseen, "cpu")
    assert fact["told_apart_before"] == pytest.approx(told_apart(*known(overtrained)))
    assert fact["told_apart_before"] > 0.8
    assert fact["told_apart_after"] == pytest.approx(told_apart(*known(model)))
    assert fact["reached"] is True
    assert abs(fact["told_apart_after"] - 0.5) < 0.1
    assert fact["steps"] < 800
    assert agreement(overtrained, model, small.retain) > 0.9


def test_what_it_reached_is_half_way_and_more(overtrained: Classifier, small: ForgetData, forgot: tuple) -> None:
    """Labels were drawn at random: a network that never met the images is right by chance, one time in three."""
    right = agreement(overtrained, forgot[0], small.forget)  # the original is always right
    assert 1 / 6 < right <= (1 + 1 / 3) / 2


def test_the_rule_reads_no_label(overtrained: Classifier, small: ForgetData) -> None:
    laf = LAF(LAFConfig(epochs=12, vae_epochs=1, stop_every=2))
    wrong = ForgetData(small.retain, small.forget.with_label(1), small.unseen.with_label(2))
    assert fingerprint(laf.forget(overtrained, wrong)) == fingerprint(laf.forget(overtrained, small))


def test_without_unseen_images_that_is_said_and_all_steps_are_taken(
    overtrained: Classifier, small: ForgetData, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, few = Checkpoint(), small.unseen.subset(np.arange(10))
    short = LAF(LAFConfig(epochs=2, vae_epochs=1))
    short.forget(overtrained, ForgetData(small.retain, small.forget, few), checkpoint=checkpoint)
    assert checkpoint.facts["stopping"] == {"rule": "all steps were taken", "steps": 2}
    assert "fewer than 20 images that the model never met to compare with: all steps" in capsys.readouterr().err
    with pytest.raises(UserError, match="stop=unseen needs images the model never met"):
        LAF(LAFConfig(stop="unseen")).forget(overtrained, ForgetData(small.retain, small.forget))


def test_steps_grow_while_nothing_happens_and_images_that_are_there_rest(
    overtrained: Classifier, small: ForgetData
) -> None:
    rule = LikeUnseen(overtrained, small, "cpu", 0, every=1)
    rows = np.arange(30)
    assert len(rule.still(rows)) == 30, "all stand out at first"
    paces = []
    for _ in range(10):
        assert not rule(overtrained)
        paces.append(rule.pace)
    assert paces[:2] == pytest.approx([1.4, 1.96])
    assert paces[-1] == FASTEST
    blank = overtrained.copy()
    with torch.no_grad():
        for weights in blank.last_linear("test").parameters():
            weights.zero_()
    assert rule(blank), "it answers everything alike"
    assert rule.pace < FASTEST


def test_the_rule_goes_on_where_it_was_interrupted(overtrained: Classifier, small: ForgetData, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Dies(Checkpoint):
        def save(self, stage: str, state: Mapping[str, Any]) -> None:
            super().save(stage, state)
            if stage == "laf" and state["epoch"] == 3:
                raise Killed

    laf = LAF(LAFConfig(epochs=6, vae_epochs=1, stop_every=2, lr_ue=1e-3, lr_ra=1e-3))
    whole, again = Checkpoint(), Checkpoint(tmp_path)
    want = laf.forget(overtrained, small, checkpoint=whole)
    with pytest.raises(Killed):
        laf.forget(overtrained, small, checkpoint=Dies(tmp_path))
    assert fingerprint(laf.forget(overtrained, small, checkpoint=again)) == fingerprint(want)
    assert again.facts == whole.facts


@pytest.mark.parametrize("name", ["negative_gradient", "random_label", "bad_teacher"])
def test_other_methods_can_stop_too(name: str, overtrained: Classifier, small: ForgetData) -> None:
    kind, checkpoint = forgetter_class(name), Checkpoint()
    config = kind.Config(stop="unseen", stop_every=2, epochs=30, lr=5e-4)
    model = kind(config).forget(overtrained, small, checkpoint=checkpoint)
    fact = checkpoint.facts["stopping"]
    known = Familiarity(overtrained, small.forget, small.unseen, "cpu")
    assert fact["reached"]
    assert fact["told_apart_after"] == pytest.approx(told_apart(*known(model)))
    assert abs(fact["told_apart_after"] - 0.5) < abs(fact["told_apart_before"] - 0.5) / 2


def test_what_was_reached_is_in_the_row_the_verdict_and_the_record(overtrained: Classifier, tmp_path: Path) -> None:
    images = noise(300, 0)
    task = Task(overtrained, images, noise(60, 2), forget_split("random:10%", 300, seed=0), noise(60, 1))
    laf = LAF(LAFConfig(epochs=1, vae_epochs=1))
    rows = Protocol(task, None, tmp_path).run({"laf": laf})
    fact = rows[-1].facts["stopping"]
    assert fact["steps"] == 1
    assert fact["reached"] is False
    (line,) = (line for line in verdict(rows) if line.startswith("laf: "))
    assert "it was not done after all 1 steps: by how well" in line
    again = Protocol(task, None, tmp_path).run({"laf": laf})
    assert again[-1].facts == rows[-1].facts
    write_record(tmp_path / "record.json", task, laf, rows[0], rows[-1])
    assert json.loads((tmp_path / "record.json").read_text())["method"]["stopping"] == fact


def test_a_method_that_stopped_is_said_to_have() -> None:
    fact = {"reached": True, "steps": 40, "told_apart_before": 0.9, "told_apart_after": 0.51}
    row = Row("laf", 0, 1.0, 1.0, 1.0, "", {}, [], None, "", facts={"stopping": fact})
    assert stopped([row], "laf").startswith("; it stopped after 40 steps")
    assert stopped([row], "laf").endswith("AUC of 0.51 (before: 0.90)")
    assert stopped([row], "scrub") == ""
