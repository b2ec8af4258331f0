"""``unlabeled evaluate``: one table of several models, from features that are made once."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_rel

from unlabeled.cli.present import show_evaluation
from unlabeled.core.errors import UserError
from unlabeled.evaluation.suite import Table, builtin_suites, load_suite
from unlabeled.evaluation.tasks import TASKS, Outcome
from unlabeled.probes.attentive import AttentiveProbe
from unlabeled.runs import banks
from unlabeled.verbs import evaluate as verb

SUITE = """
- {task: classify, size: 12, data: DATA, title: linear}
- {task: few_labels, size: 12, data: DATA, options: {labels: 2-per-class, draws: 2}}
- {task: episodes, size: 12, data: DATA, options: {ways: 2, queries: 3, episodes: 20}}
- {task: incremental, size: 12, data: DATA, options: {probe: teen, steps: 2}}
- {task: retrieval, size: 12, data: DATA}
- {task: clusters, size: 12, data: DATA}
- {task: unknown, size: 12, data: DATA, options: {against: "noise:20"}}
- {task: corrupted, size: 12, data: DATA, options: {probe: nmc, kinds: [contrast], severities: [1]}}
- {task: erased, size: 12, data: DATA, options: {class: 1}}
- {task: attentive, size: 12, data: DATA, title: attentive, options: {queries: 1}}
- {task: copies, size: 12, data: DATA, title: copies, options: {kinds: [brightness]}}
- {task: compatibility, size: 12, data: DATA, title: pairs, options: {probe: nmc}}
- {task: classify, data: flowers-102, title: nowhere}
- {task: segmentation, data: masks, title: masks}
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three colours of noisy squares in class folders, and no network."""
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 6)):
        for c, colour in enumerate([(200, 40, 40), (40, 200, 40), (40, 40, 200)]):
            folder = tmp_path / "colours" / split / f"class{c}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(np.array(colour) + rng.normal(0, 60, (12, 12, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE.replace("DATA", str(tmp_path / "colours")))
    return suite


@pytest.mark.slow
def test_every_task_gives_a_figure_or_a_reason(data, tmp_path, monkeypatch):
    models = ["pixels", "random:resnet10t"]
    monkeypatch.setattr(AttentiveProbe.__init__, "__defaults__", (1, 1, 1e-2, 0.0, 1, 256, 5, 0.2, 0, None))
    table = verb.evaluate(models, data, json_file=tmp_path / "e.json", page_file=tmp_path / "e.html")
    assert len(table.tasks) == 11
    assert set(table.skipped) == {"nowhere", "masks", "attentive"}
    found = json.loads((tmp_path / "e.json").read_text())
    assert all(-1 <= value <= 1 for values in found["values"].values() for value in values.values())
    assert found["values"]["pixels"]["linear"] > 0.9  # colours
    assert found["average"]["pixels"] == pytest.approx(np.mean(list(found["values"]["pixels"].values())))
    assert {one["task"] for one in found["differences"]} == set(table.tasks) - {"attentive"}
    assert all(one["images"] for one in found["differences"])
    assert found["values"]["pixels"]["copies"] == 1  # a brighter image is still the most like itself
    assert {(one["new"], one["old"]) for one in found["pairs"]} == {tuple(models), tuple(models[::-1])}
    [cka] = [one["cka"] for one in found["pairs"] if one["new"] == "pixels"]
    assert len(cka) == 1
    assert len(cka[0]) == 5
    assert set(found["without_labels"]["pixels"]) == {
        "rankme",
        "effective_rank",
        "alpha_req",
        "uniformity",
        "hopkins",
        "lidar",
    }
    page = (tmp_path / "e.html").read_text()
    assert "flowers-102" in page
    assert not re.search(r"https?://", page)
    assert "no folder 'flowers-102'" in show_evaluation(found)
    # a second call makes no features again, and finds the same
    monkeypatch.setattr(banks.Pixels, "forward", None)
    assert verb.evaluate(["pixels"], data).outcomes["pixels", "linear"].value == found["values"]["pixels"]["linear"]


def test_differences_are_paired_and_ranks_correlate():
    rng = np.random.default_rng(0)
    images = {name: (rng.random(200) < share).astype(float) for name, share in (("a", 0.9), ("b", 0.6), ("c", 0.3))}
    outcomes = {(name, "t"): Outcome(float(x.mean()), {}, x) for name, x in images.items()}
    ranks = {
        "a": {"rankme": 9.0, "alpha_req": 1.1},
        "b": {"rankme": 7.0, "alpha_req": 0.7},
        "c": {"rankme": 8.0, "alpha_req": 2.0},
    }
    table = Table(("a", "b", "c"), ("t",), {}, outcomes, ranks)
    one = table.differences()[0]
    wanted = ttest_rel(images["a"], images["b"]).confidence_interval(0.95)
    assert one["interval"] == pytest.approx([wanted.low, wanted.high])
    assert one["difference"] == pytest.approx(images["a"].mean() - images["b"].mean())
    # α is the better the nearer it is to 1
    assert table.rank_correlations() == {"rankme": pytest.approx(0.5), "alpha_req": pytest.approx(1.0)}


def test_the_suites_of_the_package_can_be_read():
    for name in builtin_suites():
        assert {task.task for task in load_suite(name)} <= set(TASKS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: classify", "must be a YAML list"),
        ("- [", "cannot be read as YAML"),
        ("- {task: clasify, data: x}", "Did you mean 'classify'"),
        ("- {task: classify}", "task 1: data"),
        ("- {task: classify, data: x, sise: 3}", "sise"),
        ("- {task: classify, data: x}\n- {task: classify, data: x}", "two tasks"),
        ("- {task: classify, data: fashion-mini, options: {prob: knn}}", "Did you mean 'probe'"),
        ("- {task: classify, data: fashion-mini, options: {probe: 3}}", "must be a str"),
        ("- {task: classify, data: nowhere}", "no folder 'nowhere'"),
        ("- {task: classify, data: 'noise:9'}", "needs labels"),
    ],
)
def test_a_broken_suite_is_said_in_one_line(text, said, tmp_path):
    (tmp_path / "suite.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        verb.evaluate(["pixels"], tmp_path / "suite.yaml")
    assert "\n" not in str(caught.value)


def test_bad_models():
    with pytest.raises(UserError, match="at least one model"):
        verb.evaluate([])
    with pytest.raises(UserError, match="named twice"):
        verb.evaluate(["pixels", "pixels"])
    with pytest.raises(UserError, match="no suite 'smal'"):
        verb.evaluate(["pixels"], "smal")
