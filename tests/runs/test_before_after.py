"""Did going on help? Both accuracies and their paired difference against plain counting; who is not compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unlabeled import backbones
from unlabeled.cli.present import show_run
from unlabeled.probes import KNNProbe
from unlabeled.probes.intervals import mean_interval
from unlabeled.recipes.resolve import load_recipe
from unlabeled.report.gather import gather
from unlabeled.runs.banks import bank_of
from unlabeled.runs.before_after import goes_on, in_words
from unlabeled.runs.images import data_of, splits_to_probe
from unlabeled.runs.models import load_backbone
from unlabeled.verbs.more import train_more
from unlabeled.verbs.pretrain import pretrain

QUICK = ("epochs=1", "batch_size=16", "health.every=0", "output.logger=none", "optimizer.warmup_epochs=0")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Images in three hardly different classes, with labels and without; weights that saw none of them."""
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    pixels = np.clip(rng.normal(110 + 15 * labels[:, None, None], 60, (150, 16, 16)), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "labelled.npz", images=pixels, labels=labels)
    np.savez(tmp_path / "plain.npz", images=pixels)
    shape = {"in_chans": 1, "image_size": 16, "mean": [0.5], "std": [0.25], "seed": 1, "stem_stride": 2}
    backbones.save(backbones.create("resnet10_small", channels=[16, 16, 32, 32], **shape), tmp_path / "first")
    return tmp_path


def test_what_is_said_is_what_counting_says(home: Path) -> None:
    given = (f"data=npz:{home / 'labelled.npz'}", f"backbone.weights={home / 'first'}", *QUICK)
    schedule = ("optimizer.schedule=constant", "optimizer.lr=2.0")
    run = pretrain("simclr", home / "run", overrides=(*given, *schedule))
    found = run.read_json("before_after.json")
    train, test = splits_to_probe(data_of(run))
    right = []
    for source in (home / "first", run.folder):
        network = load_backbone(source)
        probe = KNNProbe.for_suite(0, "cpu").fit(bank_of(network, train))
        right.append((probe.predict(bank_of(network, test).features) == test.labels).astype(float))
    assert found["images"] == len(test)
    assert (found["before"], found["after"]) == (right[0].mean(), right[1].mean())
    assert found["difference"] == pytest.approx(right[1].mean() - right[0].mean())
    assert tuple(found["interval"]) == pytest.approx(mean_interval((right[1] - right[0]).tolist()))
    assert in_words(found) in show_run(run)
    assert gather(run, "run").facts["going on"] == in_words(found)
    longer = train_more(run.folder, 1)
    assert longer.read_json("before_after.json")["before"] == found["after"]


def test_the_verdict_is_the_intervals() -> None:
    found = {"probe": "knn", "images": 9, "before": 0.5, "after": 0.5, "difference": 0.0}
    verdicts = [in_words({**found, "interval": span}).rsplit(": ", 1)[1] for span in ([0.1, 0.2], [-0.2, -0.1], None)]
    assert verdicts == ["it helped", "it made the network worse", "no difference can be told"]


def test_nobody_is_compared_who_cannot_be(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = f"backbone.weights={home / 'first'}"
    run = pretrain("simclr", home / "run", overrides=(f"data=npz:{home / 'plain.npz'}", weights, *QUICK))
    assert "the images have no labels" in capsys.readouterr().err
    assert run.finished()
    assert not (run.folder / "before_after.json").exists()
    assert goes_on(load_recipe("simclr", [weights]))
    for name, settings in (("simclr", []), ("finetune", [weights]), ("simclr", [weights, "epochs=0"])):
        assert not goes_on(load_recipe(name, settings))
