"""Runs side by side: the values of every view, and which images may be read and seen."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.forgetting.protocol import Row
from unlabeled.report.compare.attack import attack_view, privacy_table, rates
from unlabeled.report.compare.content import Reading, Shown
from unlabeled.report.compare.page import compared_parts
from unlabeled.report.compare.reading import read
from unlabeled.report.compare.screening import Screened, screened, screening_table
from unlabeled.report.compare.views import cka, embeddings, layers, matrices, pair_view
from unlabeled.runs.folder import Run
from unlabeled.runs.together import opened, together


@pytest.fixture
def pair() -> tuple[Shown, Reading, Reading]:
    random = np.random.default_rng(0)
    group = ["forget"] * 40 + ["retain"] * 30 + ["unseen"] * 50
    labels = np.arange(120) % 3
    images = random.integers(0, 256, (120, 1, 6, 6), dtype=np.uint8)
    visible = np.array([True] * 120)
    visible[:2] = False
    names = ["", "", *(f"{i}.png" for i in range(2, 120))]
    shown = Shown(group, images, visible, names, labels, ("bag", "boot", "coat"))

    def reading(name: str, shift: float) -> Reading:
        embedding = random.normal(size=(120, 5)) + np.eye(5)[labels] * 3
        layer = random.normal(size=(120, 4))
        scores = {"outputs": np.clip(random.normal(0.5 + shift * (np.arange(120) < 40), 0.1), 0, 1)}
        answers = np.where(random.random(120) < 0.7, labels, 0)
        return Reading(name, embedding, {"one": layer, "embedding": embedding}, answers, "its classifier", scores)

    return shown, reading("first", 0.35), reading("second", 0.0)


def unbiased(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC_1 as Song et al. 2012, equation 5, write it."""
    n, one = len(x), np.ones(len(x))
    k, m = (z @ z.T - np.diag(np.diag(z @ z.T)) for z in (x - x.mean(0), y - y.mean(0)))
    total = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return float((np.trace(k @ m) + total - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3)))


def test_the_heat_map_is_the_unbiased_cka_of_every_pair_of_stages(pair: tuple[Shown, Reading, Reading]) -> None:
    shown, first, second = pair
    rows = shown.rows("forget")
    names, values = cka(first, second, rows)
    assert names == (["one", "embedding"], ["one", "embedding"])
    for i, left in enumerate(names[0]):
        for j, right in enumerate(names[1]):
            x, y = first.layers[left][rows], second.layers[right][rows]
            expected = unbiased(x, y) / np.sqrt(unbiased(x, x) * unbiased(y, y))
            assert values[i, j] == pytest.approx(expected, abs=1e-9)
    text = layers(*pair)
    assert text.count('class="hit"') == 2 * 4
    assert f"{values[1, 1]:.2f}" in text
    few = Shown(["forget"] * 9, shown.images[:9], shown.visible[:9], shown.names[:9])
    assert layers(few, first, second) == ""


def test_matrices_count_the_answers(pair: tuple[Shown, Reading, Reading]) -> None:
    shown, first, second = pair
    text = matrices(*pair)
    tips = re.findall(r'data-tip="([^"]*) → ([^"]*): ([\d,]+) of', text)
    found = np.array([int(count) for _, _, count in tips]).reshape(6, 3, 3)
    expected = []
    for group in ("forget", "unseen"):
        rows = shown.rows(group)
        left, right = first.answers[rows], second.answers[rows]
        pairs = ((shown.labels[rows], left), (shown.labels[rows], right), (left, right))
        expected += [confusion_matrix(*both, labels=[0, 1, 2]) for both in pairs]
    np.testing.assert_array_equal(found, expected)
    assert matrices(shown, Reading("x", first.embedding), second) == ""


def test_the_histograms_hold_the_scores_and_say_their_rates(pair: tuple[Shown, Reading, Reading]) -> None:
    shown, first, second = pair
    text = attack_view(*pair)
    held = [json.loads(part) for part in re.findall(r'data-members="([^"]*)"', text)]
    for reading, members in zip((first, second), held, strict=True):
        np.testing.assert_allclose(members, reading.scores["outputs"][shown.rows("forget")], atol=1e-4)
        other = reading.scores["outputs"][shown.rows("unseen")]
        true, false = rates(np.array(members), other, 0.5)
        assert f'class="tpr">{100 * true:.1f}</output>' in text
        assert f'class="fpr">{100 * false:.1f}</output>' in text
        auc = roc_auc_score([1] * 40 + [0] * 50, [*members, *other])
        assert f"AUC {auc:.3f} [" in text
    # the bars of the first run's members add up to all of them, and lie on the right
    chart = text[: text.index("</svg>")]
    bars = re.findall(r'<rect class="members" x="([\d.]+)" width="[\d.]+" y="[\d.]+" height="([\d.]+)"', chart)
    heights = np.array([float(height) for _, height in bars])
    share = np.histogram(held[0], np.linspace(0, 1, 25))[0]
    np.testing.assert_allclose(heights / heights.max(), share[share > 0] / share.max(), atol=0.01)


def test_the_privacy_table_tells_what_is_apart_from_what_is_not(pair: tuple[Shown, Reading, Reading]) -> None:
    shown, first, second = pair
    text = privacy_table(*pair)
    values = [float(v) for v in re.findall(r'<td class="num" data-value="([\d.e-]+)"><b>', text)]
    assert len(values) == 3
    assert values[0] < 0.5
    assert values[1] == 1.0
    assert values[2] < 0.5
    assert privacy_table(shown, Reading("x", first.embedding), second) == ""


def test_images_that_must_not_be_seen_are_points_without_picture_and_name(pair: tuple[Shown, Reading, Reading]) -> None:
    text = embeddings(*pair, key="k", thumbs=None)
    assert text.count("<circle") == 240
    assert text.count('class="forget bare"') == 4
    cards = json.loads(re.search(r'class="cards">(.*?)</template>', text)[1].replace("&quot;", '"'))
    assert cards[0][0] == ["an image that is not shown", "bag", "to be forgotten"]
    assert cards[2][0] == ["2.png", "coat", "to be forgotten"]
    first, second = pair[1].scores["outputs"][2], pair[2].scores["outputs"][2]
    assert cards[2][3] == ["P(member) by outputs", f"{first:.2f}", f"{second:.2f}"]
    moved = np.abs(pair[1].scores["outputs"] - pair[2].scores["outputs"])[:40]
    buttons = [int(i) for i in re.findall(r'<button type="button" data-i="(\d+)"', text)]
    assert buttons == np.argsort(-moved, kind="stable")[:24].tolist()
    assert "data-thumbs" not in text
    assert "url(" not in embeddings(*pair, key="k", thumbs="thumbs/")


def test_a_table_row_has_its_spread_or_its_interval(tmp_path: Path) -> None:
    def row(method: str, seed: int, **measures: float) -> Row:
        return Row(method, seed, 2.0 + seed, 1.0, 0.5, "m", measures, [], None, "")

    one = row("laf", 0, mia_auc_outputs=0.7, mia_auc_outputs_low=0.6, mia_auc_outputs_high=0.8, train_f=0.25)
    lines = [
        Screened("a", "class:0", "laf", "epochs=3", [one]),
        Screened("b", "class:0", "scrub", "", [row("scrub", 0, train_f=0.5), row("scrub", 1, train_f=0.7)]),
    ]
    text = screening_table(lines)
    assert "0.70 [0.60, 0.80]" in text
    assert "60.0 ± 127.1" in text
    assert '<td class="fine">epochs=3</td>' in text
    assert 'data-value="0.6"' in text
    assert "accuracy, images to forget" in text  # what the heading says when pointed at
    assert screening_table([]) == ""


def asked(home: Path) -> np.ndarray:
    return np.array(json.loads((home / "forgotten" / run_files.REQUEST).read_text())["rows"])


def test_both_runs_are_read_on_the_same_images(home: Path) -> None:
    runs = [opened(Run(home / name)) for name in ("original", "forgotten")]
    found = together(runs)
    np.testing.assert_array_equal(found.forget, asked(home))
    np.testing.assert_array_equal(found.retain, np.setdiff1d(np.arange(150), asked(home)))
    assert found.held.all()
    shown, (first, second) = read(runs, ["original", "forgotten"], live=True)
    assert len(shown.rows("forget")) == 30
    assert shown.visible.all()
    data = np.load(home / "d.npz")
    np.testing.assert_array_equal(shown.images[shown.rows("forget")][:, 0], data["x_train"][asked(home)])
    np.testing.assert_array_equal(shown.labels[shown.rows("forget")], data["y_train"][asked(home)])
    assert list(first.layers) == ["act1", "layer1", "layer2", "layer3", "layer4", "embedding"]
    np.testing.assert_allclose(first.layers["layer4"], first.embedding, atol=1e-5)  # its mean is the embedding
    assert first.answered_by == "its classifier"
    assert set(first.scores) == {"embeddings", "outputs"}
    again = read(runs, ["original", "forgotten"], live=True)[1][1]
    np.testing.assert_array_equal(again.scores["outputs"], second.scores["outputs"])
    assert "original" in pair_view(shown, first, second, "k")


def test_a_page_that_is_kept_holds_no_image_that_was_to_be_forgotten(home: Path) -> None:
    runs = [opened(Run(home / name)) for name in ("original", "forgotten")]
    shown, _ = read(runs, ["original", "forgotten"], live=False)
    gone = shown.rows("forget")
    assert len(gone) == 30
    assert not shown.visible[gone].any()
    assert not shown.images[gone].any()
    assert {shown.names[i] for i in gone} == {""}
    assert any("30 images to be forgotten are points without picture" in line for line in shown.said)
    parts = compared_parts([Run(home / "original"), Run(home / "forgotten")], ["original", "forgotten"])
    assert list(parts) == ["methods", "compared"]
    text = parts["compared"][1]
    assert not any(f"train image {row}&" in text for row in asked(home))
    assert text.count('class="forget bare"') == 60
    (finetuned,) = [line for line in screened([(Run(home / "forgotten"), "f")]) if line.method == "finetune"]
    assert finetuned.settings == "epochs=1"


def test_what_neither_run_holds_is_not_seen_and_what_was_purged_is_not_read(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "forgotten", tmp_path / "copy")
    twice = [opened(Run(home / "forgotten")), opened(Run(tmp_path / "copy"))]
    shown, _ = read(twice, ["a", "b"], live=True)
    assert len(shown.rows("forget")) == 30
    assert not shown.images[shown.rows("forget")].any()
    (tmp_path / "copy" / run_files.REQUEST).unlink()  # as `unlabeled purge` leaves it
    for other in ("original", "forgotten"):
        runs = [opened(Run(tmp_path / "copy")), opened(Run(home / other))]
        assert not len(together(runs).forget)
        assert not np.isin(asked(home), together(runs).retain).any()
    shown, _ = read(runs, ["a", "b"], live=True)
    assert shown.members == "retain"
    assert any("it was purged" in line for line in shown.said)


def test_another_request_on_the_page_is_honoured_too(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "original", tmp_path / "second")
    runs = [opened(Run(folder)) for folder in (home / "original", tmp_path / "second", home / "forgotten")]
    shown, _ = read(runs[:2], ["a", "b"], live=False, others=runs)
    gone = {f"train image {row}" for row in asked(home)}
    assert gone.isdisjoint(shown.names)
    assert gone & set(read(runs[:2], ["a", "b"], live=False)[0].names)  # it is the request that leaves them out


def test_without_a_classifier_neighbours_answer(home: Path, tmp_path: Path) -> None:
    for name in ("original", "forgotten"):
        shutil.copytree(home / name, tmp_path / name, ignore=shutil.ignore_patterns("classifier"))
    runs = [opened(Run(tmp_path / name)) for name in ("original", "forgotten")]
    shown, (first, _) = read(runs, ["a", "b"], live=True)
    assert first.answered_by.startswith("its 20 nearest neighbours among ")
    assert list(first.scores) == ["embeddings"]
    assert shown.labels is not None
    assert first.answers is not None
    assert (first.answers == shown.labels).mean() > 0.6  # three classes that differ in brightness


def test_data_that_grew_is_refused_and_data_that_shrank_is_known_by_its_pixels(home: Path, tmp_path: Path) -> None:
    before = asked(home)
    data = dict(np.load(home / "d.npz"))

    def moved(keep: np.ndarray) -> list[Run]:
        folder = tmp_path / str(len(keep))
        for name in ("original", "forgotten"):
            shutil.copytree(home / name, folder / name)
            recipe = folder / name / "recipe.yaml"
            recipe.write_text(recipe.read_text().replace(str(home / "d.npz"), str(folder / "d.npz")))
        np.savez(folder / "d.npz", **{**data, "x_train": data["x_train"][keep], "y_train": data["y_train"][keep]})
        return [Run(folder / name) for name in ("original", "forgotten")]

    with pytest.raises(UserError, match="trained on 150 images, and its data has 151 now"):
        opened(moved(np.append(np.arange(150), 0))[0])
    keep = np.delete(np.arange(150), [int(before[0]), int(np.setdiff1d(np.arange(150), before)[0])])
    runs = [opened(run) for run in moved(keep)]
    found = together(runs)
    np.testing.assert_array_equal(keep[found.forget], before[1:])
    np.testing.assert_array_equal(keep[found.retain], np.setdiff1d(keep, before))
    assert "(150 images then, 148 now)" in runs[0].said


def test_runs_on_other_data_are_refused_in_one_line(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    data = dict(np.load(home / "d.npz"))
    np.savez(other, **{**data, "x_train": data["x_train"][:90], "y_train": data["y_train"][:90]})
    shutil.copytree(home / "original", tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(home / "d.npz"), str(other)))
    with pytest.raises(UserError, match="trained on different data"):
        together([opened(Run(home / "original")), opened(Run(tmp_path / "run"))])
    parts = compared_parts([Run(home / "original"), Run(tmp_path / "run")], ["a", "b"])
    assert "not read on the same images" in parts["compared"][1]
