from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from unlabeled.core.errors import UserError
from unlabeled.data.forget_sets import ForgetSplit, forget_split
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.images import LabelledImages
from unlabeled.forgetting.judge.case import Task
from unlabeled.forgetting.judge.catalog import WORDS
from unlabeled.forgetting.judge.evaluate import Evaluator
from unlabeled.forgetting.judge.measures import aus
from unlabeled.forgetting.judge.tables import (
    ACCURACY,
    LEAKAGE,
    PROBES,
    REPRESENTATION,
    table,
    told_apart,
    values,
    verdict,
)
from unlabeled.forgetting.methods.laf import LAF, LAFConfig
from unlabeled.forgetting.methods.retrain import Retrain, RetrainConfig
from unlabeled.forgetting.methods.scrub import Scrub
from unlabeled.forgetting.methods.ssd import LFSSD
from unlabeled.forgetting.protocol import Protocol, Row, retrain_by
from unlabeled.forgetting.record import write_record
from unlabeled.forgetting.store import Trained

RETRAIN = Retrain(RetrainConfig(epochs=5, lr=1e-2))
LAFS = {"laf": LAF(LAFConfig(epochs=20, lr_ue=1e-3, lr_ra=2e-3, vae_epochs=3))}


@pytest.fixture
def task(model: Classifier, train: LabelledImages, test: LabelledImages, split: ForgetSplit) -> Task:
    return Task(model, train, test, split)


def run(task: Task, folder: Path, seeds: tuple[int, ...] = (0,)) -> list[Row]:
    return Protocol(task, retrain_by(RETRAIN, task, folder / "cache"), folder / "out").run(LAFS, seeds)


def test_the_protocol_measures_the_controls_computes_nothing_twice_and_leaves_a_record(
    task: Task, tmp_path: Path
) -> None:
    rows = run(task, tmp_path)
    assert [r.method for r in rows] == ["original", "retrain", "head_only", "laf"]
    by = {r.method: r.measures for r in rows}
    assert {name for measures in by.values() for name in measures} <= set(WORDS)
    assert by["original"]["test_f"] > 0.9
    assert by["retrain"]["test_f"] == 0
    assert by["laf"]["test_f"] < 0.2
    assert min(by[name]["test_r"] for name in ("original", "retrain", "laf")) > 0.9
    # Head-only: the embeddings are the original's, and the measures of the representation say so.
    assert by["head_only"]["cka_forget_original"] == pytest.approx(1)
    for name in ("reprobe_linear_test_f", "reprobe_knn_test_f", "mia_auc_features"):
        assert by["head_only"][name] == by["original"][name]
    # a class goes: the score's A_f is of test images of the class, as in its paper
    laf, before = by["laf"], by["original"]
    assert laf["aus"] == aus(laf["test_r"], before["test_r"], laf["test_f"])
    counts = {"train_f": 120, "test_f": 50, "test_r": 100, "member_share_outputs": 120, "asr": 120 + 75}
    for name, n in counts.items():
        wilson = stats.binomtest(round(laf[name] * n), n).proportion_ci(method="wilson")
        assert (laf[f"{name}_low"], laf[f"{name}_high"]) == pytest.approx((wilson.low, wilson.high))
    assert by["retrain"]["rus"] == pytest.approx(1)
    assert by["retrain"]["relearn_ratio"] == 1
    assert by["retrain"]["activation_distance"] == 0
    assert by["original"]["relearn_ratio"] == 0
    assert rows[1].time_ratio == 1
    assert rows[3].time_ratio > 0
    assert math.isnan(rows[0].seconds)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".lock"}
    again = run(task, tmp_path)
    assert [r.model for r in again] == [r.model for r in rows]
    assert {p: p.stat().st_mtime_ns for p in stamps if p.name != "split.npz"} == {
        p: s for p, s in stamps.items() if p.name != "split.npz"
    }
    assert "head_only: its embeddings are the original's" in " ".join(verdict(rows))
    # The record names every forgotten image.
    write_record(tmp_path / "record.json", task, LAFS["laf"], rows[0], rows[3], rows[1])
    record = json.loads((tmp_path / "record.json").read_text(), parse_constant=pytest.fail)
    prints = task.train.image_fingerprints()
    assert [image["row"] for image in record["images"]] == task.split.forget_rows.tolist()
    assert all(prints[image["row"]] == image["blake2b"] for image in record["images"])
    assert record["models"]["original"] == fingerprint(task.original) != record["models"]["forgotten"]
    assert record["method"]["settings"]["epochs"] == 20
    assert record["method"]["read_labels"] is False
    assert record["measures"]["before"]["test_f"] > record["measures"]["after"]["test_f"]


def test_an_interrupted_protocol_keeps_what_was_finished(task: Task, tmp_path: Path) -> None:
    protocol = Protocol(task, retrain_by(RETRAIN, task, tmp_path / "cache"), tmp_path / "out")

    class Killed(Exception):
        pass

    class Dies(LAF):
        def _forget(self, *args: object, **kwargs: object) -> Classifier:
            raise Killed

    with pytest.raises(Killed):
        protocol.run({"laf": Dies()}, (0,))
    finished = sorted(p.name for p in (tmp_path / "out" / "rows").iterdir())
    assert [name.split("-s0")[0] for name in finished] == ["head-only", "original", "retrain"]
    assert len(run(task, tmp_path)) == 4


def test_what_a_method_lacks_is_said_before_the_retraining(task: Task, model: Classifier, tmp_path: Path) -> None:
    def retrain(seed: int) -> Trained:
        raise AssertionError("retraining has begun")

    bare = Task(Classifier(model.extractor), task.train, task.test, task.split)
    blind = Task(model, task.train.without_labels(), task.test.without_labels(), task.split)
    for lacking, message in ((bare, "scrub edits or trains a classifier head"), (blind, "scrub needs labels")):
        with pytest.raises(UserError, match=message):
            Protocol(lacking, retrain, tmp_path).run({**LAFS, "scrub": Scrub()})


def test_seeds_share_one_retrained_model_each_across_protocols(task: Task, tmp_path: Path) -> None:
    retrain = retrain_by(RETRAIN, task, tmp_path)
    first, second = retrain(0), retrain(1)
    assert fingerprint(first.model) != fingerprint(second.model)
    assert retrain_by(RETRAIN, task, tmp_path)(0).seconds == first.seconds


def test_unlabelled_methods_are_given_unlabelled_data(task: Task, tmp_path: Path) -> None:
    protocol = Protocol(task, retrain_by(RETRAIN, task, tmp_path), tmp_path)
    assert not isinstance(protocol.data(LFSSD()).retain, LabelledImages)
    assert isinstance(protocol.data(RETRAIN).retain, LabelledImages)


def test_a_backbone_without_head_or_labels_is_judged_by_its_representation(
    task: Task, model: Classifier, tmp_path: Path
) -> None:
    backbone = Classifier(model.extractor)
    other = RETRAIN.forget(model, Protocol(task, retrain_by(RETRAIN, task, tmp_path), tmp_path).data(RETRAIN))
    gold = Classifier(other.extractor)
    blind = Task(backbone, task.train.without_labels(), task.test.without_labels(), task.split)
    found = Evaluator(blind, gold)(backbone).measures
    assert found["cka_forget_original"] == pytest.approx(1)
    assert not any(name.startswith(("test", "train", "reprobe", "asr", "zrf")) for name in found)
    pair = forget_split("random:0.6%", len(task.train), seed=0)  # of two images any two embeddings have a CKA of 1
    assert len(pair.forget_rows) == 2
    found = Evaluator(Task(backbone, blind.train, blind.test, pair), gold)(backbone).measures
    assert all(math.isnan(found[name]) for name in ("cka_forget_original", "cka_forget_retrained", "rus"))
    assert found["cka_retain_original"] == pytest.approx(1)
    labelled = Evaluator(Task(backbone, task.train, task.test, task.split), gold)(gold).measures
    assert labelled["reprobe_linear_test_f"] > 0.5
    assert "test_f" not in labelled


def test_data_removal_and_noisy_labels_report_one_test_accuracy(
    model: Classifier, train: LabelledImages, test: LabelledImages
) -> None:
    labels = train.labels.numpy()
    for spec in ("random:40%@1-2", "noisy:60%@0-1"):
        split = forget_split(spec, len(train), labels, seed=1)
        used = train.relabelled(torch.from_numpy(split.training_labels(labels)))
        found = Evaluator(Task(model, used, test, split), model)(model).measures
        assert found["test"] > 0.9
        assert "test_f" not in found
        assert (found["train_f"] > 0.9) == spec.startswith("random")
        assert abs(found["mia_auc_outputs"] - 0.5) < 0.3


def test_tables_show_means_and_leave_out_what_nobody_has(task: Task) -> None:
    def row(method: str, seed: int, **measured: float) -> Row:
        return Row(method, seed, 2.0, 2.0, 0.5, "", measured, [], None, "")

    rows = [row("a", seed, test=0.5 + seed / 10, rus=0.25 + seed / 20) for seed in range(3)]
    rows.append(row("b", 0, test=math.nan))
    shown = table(rows, (*ACCURACY, *REPRESENTATION, "time_ratio"))
    assert shown.splitlines()[0] == "| method | test | rus | time_ratio |"
    assert "| a | 60.0 ± 24.8 | 0.30 ± 0.12 | 0.50 ± 0.00 |" in shown
    assert "| b | – | – | 0.50 |" in shown
    low, high = stats.t.interval(0.95, 2, 60, stats.sem([50, 70, 60]))
    assert (high - low) / 2 == pytest.approx(24.84, abs=0.01), "of the mean of three seeds"
    assert values(rows, "a", "seconds") == [2.0, 2.0, 2.0]
    attacked = [row("a", 0, mia_auc_outputs=0.625, mia_auc_outputs_low=0.5, mia_auc_outputs_high=0.75)]
    assert "| a | 0.62 [0.50, 0.75] |" in table(attacked, LEAKAGE)
    assert np.isnan(rows[3].measures["test"])


@pytest.mark.parametrize(
    ("few", "end"), [(0.6, "2 % of the labels and with 20"), (0.81, "with 20 neighbours"), (0.9, "no probe")]
)
def test_the_verdict_says_which_probes_tell_head_only_apart(few: float, end: str) -> None:
    def row(method: str, *found: float) -> Row:
        measured = dict(zip(PROBES, found, strict=True))
        return Row(method, 0, 2.0, 2.0, 0.5, "", {**measured, "cka_forget_original": 0.5}, [], None, "")

    near = 0.84 if end == "no probe" else 0.7
    rows = [row("original", 0.83, 0.8, 0.85), row("head_only", 0.83, 0.8, 0.85), row("laf", 0.82, few, near)]
    assert end in verdict(rows)[-1]
    assert told_apart(rows[:2]) == []


def test_without_retraining_only_what_compares_with_it_is_missing(task: Task, tmp_path: Path) -> None:
    rows = Protocol(task, None, tmp_path).run(LAFS)
    assert [r.method for r in rows] == ["original", "head_only", "laf"]
    assert rows[2].measures["test_f"] < 0.2
    assert rows[2].measures["cka_forget_original"] < 1
    assert not {"rus", "cka_forget_retrained", "activation_distance", "relearn_ratio"} & set(rows[2].measures)
    assert math.isnan(rows[2].time_ratio)
    other = Task(task.original, task.train, task.test.subset(np.arange(20)), task.split)
    again = Protocol(other, None, tmp_path).run(LAFS)
    assert rows[0].folder != again[0].folder, "what was measured on other test images is not read back"
