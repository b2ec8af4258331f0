"""Methods at their defaults act on requests of a few images; the network is over-trained on labels that say nothing."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from unlabeled.data.forget_sets import ForgetSplit, forget_split
from unlabeled.forgetting.classifier import Classifier, fingerprint, paper_cnn
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.frame import Frame
from unlabeled.forgetting.images import LabelledImages, PixelArray, Preprocess
from unlabeled.forgetting.judge.case import Task
from unlabeled.forgetting.judge.measures import accuracy
from unlabeled.forgetting.judge.tables import verdict, way
from unlabeled.forgetting.methods import forgetter_class
from unlabeled.forgetting.methods.laf import LAF, LAFConfig, passes
from unlabeled.forgetting.methods.retrain import RetrainConfig
from unlabeled.forgetting.methods.ssd import ALPHAS
from unlabeled.forgetting.protocol import Protocol, Row
from unlabeled.forgetting.training.relabel import relabel_and_train
from unlabeled.forgetting.training.supervised import train_classifier

TRAINING = RetrainConfig(epochs=25, lr=2e-3, weight_decay=0.0)


def noise(count: int, seed: int) -> LabelledImages:
    random = np.random.default_rng(seed)
    pixels = PixelArray(random.integers(0, 256, (count, 1, 8, 8)).astype(np.uint8))
    return LabelledImages(pixels, random.integers(0, 3, count), Preprocess((0.5,), (0.3,)))


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    return noise(300, 0)


@pytest.fixture(scope="module")
def overtrained(images: LabelledImages) -> Classifier:
    return train_classifier(paper_cnn(size=8, classes=3), images, Frame(TRAINING))


def right(model: Classifier, images: LabelledImages) -> float:
    return accuracy(apply_head(model, embed_all(model, images)), images.labels)


def answers(model: Classifier, images: LabelledImages) -> torch.Tensor:
    return apply_head(model, embed_all(model, images)).argmax(1)


@pytest.fixture(scope="module")
def split(images: LabelledImages) -> ForgetSplit:
    return forget_split("random:5%", len(images), seed=0)


@pytest.fixture(scope="module")
def data(images: LabelledImages, split: ForgetSplit) -> ForgetData:
    return ForgetData(images.subset(split.retain_rows), images.subset(split.forget_rows))


@pytest.mark.slow
def test_laf_at_its_defaults_goes_half_way_on_fifteen_images(overtrained: Classifier, data: ForgetData) -> None:
    before, retrained = right(overtrained, data.forget), 1 / 3  # labels drawn at random: chance is all there is
    assert before == 1
    forgot = LAF().forget(overtrained, data)
    assert right(forgot, data.forget) <= (before + retrained) / 2
    assert right(forgot, data.retain) > 0.9
    short = LAF(LAFConfig(epochs=20)).forget(overtrained, data)  # twenty steps: what the default was
    assert right(short, data.forget) > (before + retrained) / 2


@pytest.mark.parametrize("name", ["lfssd", "ssd"])
def test_dampening_goes_as_far_as_the_retain_images_allow(name: str, overtrained: Classifier, data: ForgetData) -> None:
    """The alpha of the default is the last of the list, from mild to strong, before more than 1 % of answers change."""
    kind = forgetter_class(name)
    before = answers(overtrained, data.retain)

    def agreement(alpha: float) -> float:
        forgot = kind(kind.Config(alpha=alpha)).forget(overtrained, data)
        return float((answers(forgot, data.retain) == before).float().mean())

    allowed = list(itertools.takewhile(lambda alpha: agreement(alpha) >= 0.99, ALPHAS))
    assert 10.0 > allowed[-1] > ALPHAS[-1], "the rule decides here, and not the released value"
    chosen, by_rule = kind(kind.Config(alpha=allowed[-1])).forget(overtrained, data), kind().forget(overtrained, data)
    assert fingerprint(by_rule) == fingerprint(chosen) != fingerprint(overtrained)


def test_small_requests_get_as_many_steps_and_large_ones_the_released_passes() -> None:
    assert passes(None, 48_000, 12_000, 32) == 20
    assert [passes(None, 2000 - n, n, 32) for n in (20, 50, 200)] == [800, 400, 115]
    assert passes(None, 10, 12_000, 32) == 800, "a step needs images to retain, too"
    assert passes(2, 1950, 50, 32) == 2


def test_the_released_temperature_follows_what_is_to_go(overtrained: Classifier, data: ForgetData) -> None:
    def hash_of(task: str, **settings: object) -> str:
        given = ForgetData(data.retain, data.forget, None, task)  # type: ignore[arg-type]
        return fingerprint(LAF(LAFConfig(epochs=2, vae_epochs=1, **settings)).forget(overtrained, given))

    assert hash_of("data") == hash_of("class", temperature=5.0)
    assert hash_of("class") == hash_of("noisy") == hash_of("data", temperature=20.0) != hash_of("data")


def test_one_pass_over_the_forget_images_an_epoch(overtrained: Classifier, data: ForgetData) -> None:
    model, seen = overtrained.copy(), []
    model.extractor.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    config = forgetter_class("random_label").Config(epochs=3)
    relabel_and_train(model, data, Frame(config), "random_label")
    assert sum(seen) == 3 * (len(data.forget) + len(data.retain))
    assert seen[0] == len(data.forget) == 15, "the forget images first"


def test_a_method_that_moved_nothing_is_said_to_have(
    overtrained: Classifier, images: LabelledImages, split: ForgetSplit, tmp_path: Path
) -> None:
    mild = LAF(LAFConfig(epochs=1, vae_epochs=1, lr_ue=1e-9, lr_ra=1e-9))
    rows = Protocol(Task(overtrained, images, noise(60, 1), split), None, tmp_path).run({"laf": mild})
    assert rows[0].measures["moved_forget"] == 0
    assert 0 < rows[-1].measures["moved_forget"] < 1e-4
    assert any(line.startswith("laf: it moved nothing: the forget images lie within 1%") for line in verdict(rows))


@pytest.mark.parametrize(
    ("after", "end"), [(0.6, "at least half-way"), (0.9, "less than half-way"), (0.1, "beyond it")]
)
def test_the_verdict_says_how_far_it_went(after: float, end: str) -> None:
    def row(method: str, value: float) -> Row:
        return Row(method, 0, 1.0, 1.0, 1.0, "", {"train_f": value}, [], None, "")

    rows = [row("original", 1.0), row("retrain", 0.5), row("laf", after)]
    assert way(rows, "laf").endswith(end)
    assert way([row("original", 0.5), row("retrain", 0.5), row("laf", 0.5)], "laf") == ""


def test_the_verdict_says_how_far_the_attack_went() -> None:
    def row(method: str, right: float, auc: float) -> Row:
        return Row(method, 0, 1.0, 1.0, 1.0, "", {"train_f": right, "mia_auc_outputs": auc}, [], None, "")

    said = way([row("original", 1.0, 0.66), row("retrain", 0.8, 0.5), row("laf", 0.9, 0.7)], "laf")
    assert "its accuracy is 90% (original 100%, retrained 80%): at least half-way; " in said
    assert said.endswith("its attack AUC is 0.70 (original 0.66, retrained 0.50): less than half-way")
