"""Real runs become pages: what they hold and what their backbones see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from unlabeled.core.errors import UserError
from unlabeled.core.progress import set_quiet
from unlabeled.data import ImageSet
from unlabeled.report.gather import flat, gather
from unlabeled.report.looks import project
from unlabeled.runs.folder import Run
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.report import report

TINY = (
    "epochs=1",
    "batch_size=32",
    "health.every=1",
    "health.images=100",
    "output.logger=none",
    "output.log_every=1",
    "hardware.precision=32-true",
)
RESNET = "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16], stem_stride: 2}"
VIT = "backbone.args={patch_size: 4, embed_dim: 24, depth: 1, num_heads: 2}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    generator = np.random.default_rng(0)
    labels = np.arange(96) % 3
    images = generator.normal(labels[:, None, None] * 60 + 60, 30, (96, 16, 16)).clip(0, 255).astype(np.uint8)
    np.savez(folder / "data.npz", x_train=images[:64], y_train=labels[:64], x_test=images[64:], y_test=labels[64:])
    set_quiet(True)
    done = {}
    for name, backbone in {"simclr": RESNET, "rotation": RESNET, "mae": VIT, "swav": RESNET}.items():
        prototypes = ("method.prototypes=6",) if name == "swav" else ()
        settings = (*TINY, f"data=npz:{folder / 'data.npz'}", backbone, *prototypes)
        done[name] = pretrain(name, folder / name, overrides=settings)
    set_quiet(False)
    return done


def test_a_run_shows_its_curves_points_neighbours_and_views(runs: dict[str, Run]) -> None:
    content = gather(runs["simclr"], "simclr", points=20, bank=30)
    assert [row["step"] for row in content.metrics if "loss" in row] == [1.0, 2.0]
    assert content.atlas is not None
    assert len(content.atlas.images) == 20
    assert [p.points.shape for p in content.projections] == [(20, 2), (20, 2)]
    assert content.retrieval is not None
    assert len(content.retrieval.rows) == 3
    assert {len(row) for row in content.retrieval.rows} == {13}
    (views,) = content.galleries
    assert len(views.rows) == 3
    assert content.facts["embedding"] == "16 dimensions"
    assert any("No probe" in note for note in content.notes)


def test_the_views_are_those_of_the_first_step(runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    from unlabeled.data.views import Views

    seen: list[np.ndarray] = []
    draw = Views.__call__

    def watched(self: Views, images: object, **where: object) -> object:
        out = draw(self, images, **where)  # type: ignore[arg-type]
        seen.append(out[0].numpy().copy())
        return out

    monkeypatch.setattr(Views, "__call__", watched)
    set_quiet(True)
    pretrain(runs["simclr"].recipe(), runs["simclr"].folder.parent / "again")
    first, seen = next(views for views in seen if len(views) > 2), []  # after the rehearsal on two images
    gather(runs["simclr"], "simclr", points=12, bank=12)
    set_quiet(False)
    np.testing.assert_allclose(seen[0], first[: len(seen[0])], atol=1e-5)


def test_images_that_a_run_never_saw_are_not_among_its_neighbours(runs: dict[str, Run], tmp_path: Path) -> None:
    from unlabeled.data.forget_sets import forget_split

    recipe = runs["simclr"].recipe()
    labels = np.load(recipe.data.name.removeprefix("npz:"))["y_train"]
    forget_split("class:1", len(labels), labels).save(tmp_path / "split.npz")
    data = recipe.data.model_copy(update={"without": str(tmp_path / "split.npz")})
    set_quiet(True)
    run = pretrain(recipe.model_copy(update={"data": data}), tmp_path / "without")
    set_quiet(False)
    found = gather(run, "without", points=30, bank=60).retrieval
    assert found is not None
    assert {cell.tip.split("\n")[0] for row in found.rows for cell in row[1:]} <= {"0", "2"}


def test_methods_show_their_own_pictures(runs: dict[str, Run]) -> None:
    mae = gather(runs["mae"], "mae", points=12, bank=12)
    assert list(mae.galleries[1].row_names) == ["original", "masked", "reconstructed"]
    assert [picture.title for picture in mae.pictures] == ["masked autoencoder epoch 0001"]
    rotation = gather(runs["rotation"], "rotation", points=12, bank=12)
    (confusion,) = rotation.confusions
    assert confusion.counts.sum() == 12 * 4
    assert list(confusion.classes) == ["0°", "90°", "180°", "270°"]
    swav = gather(runs["swav"], "swav", points=12, bank=12)
    usage = swav.galleries[1]
    shares = [float(name.split(": ")[1].rstrip(" %")) for name in usage.row_names]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert sum(len(row) for row in usage.rows) == 12  # every image has one leader
    assert f"{len(usage.rows)} of 6 prototypes lead for some of 12" in usage.caption
    assert all("prototypes_used" in row for row in swav.metrics if "loss" in row)


def test_a_page_of_several_runs(runs: dict[str, Run], tmp_path: Path) -> None:
    path = report([run.folder for run in runs.values()], tmp_path / "page.html", points=12, bank=12)
    text = path.read_text()
    assert "4 runs compared" in text
    assert text.count(".atlas0{") == 1  # the images are the same, and are there once
    assert report([runs["mae"].folder], points=12, bank=12) == runs["mae"].folder / "report.html"


def test_what_is_missing_or_broken_is_left_out_and_said(runs: dict[str, Run], tmp_path: Path) -> None:
    unfinished = Run(tmp_path / "unfinished")
    unfinished.begin(runs["simclr"].recipe(), "unlabeled")
    (unfinished.folder / "probes").mkdir()
    (unfinished.folder / "probes" / "a.json").write_text("{half")
    (unfinished.folder / "metrics.csv").write_text("step,loss\n1,x\n2,3.0\n")
    (unfinished.folder / "pictures").mkdir()
    (unfinished.folder / "pictures" / "notes.txt").write_text("no picture")
    content = gather(unfinished, "unfinished")
    assert "has not finished" in content.notes[0]
    assert np.isnan(content.metrics[0]["loss"])
    assert report([unfinished.folder]).is_file()
    with pytest.raises(UserError, match="is not a run folder"):
        report([tmp_path / "absent"])
    with pytest.raises(UserError, match="is a folder"):
        report([unfinished.folder], tmp_path)


def test_a_record_of_forgetting_is_shown(runs: dict[str, Run], tmp_path: Path) -> None:
    run = Run(tmp_path / "forgotten")
    run.begin(runs["simclr"].recipe(), "unlabeled forget")
    record = {
        "request": {"spec": "class:1", "description": "class 1 (21 images)"},
        "method": {"name": "laf", "settings": {"epochs": 1}, "read_labels": False, "seconds": 3.5},
        "measures": {"before": {"test_f": 0.6, "zrf": None}, "after": {"test_f": 0.1}},
        "images": [{"row": 1, "blake2b": "ab"}],
    }
    (run.folder / "record.json").write_text(json.dumps(record))
    (run.folder / "table.md").write_text("# class 1\n\n| method |\n|---|\n| laf |\nlaf: forgot.\n")
    (found,) = gather(run, "forgotten").forgetting
    assert found.measures == {"before": {"test_f": 0.6}, "after": {"test_f": 0.1}}
    assert found.facts["labels read"] == "no"
    assert list(found.notes) == ["laf: forgot."]


def test_projections_of_few_or_collapsed_points() -> None:
    assert project(np.ones((5, 4), np.float32)) == []
    assert project(np.ones((20, 4), np.float32)) == []
    assert all(np.isfinite(p.points).all() for p in project(np.random.default_rng(0).random((12, 1), np.float32)))


def test_data_without_labels_has_points_and_neighbours() -> None:
    from unlabeled.report.looks import retrieval

    images = ImageSet.from_arrays(np.zeros((12, 8, 8), np.uint8))
    features = np.eye(12, dtype=np.float32)
    found = retrieval(images, features, images, features)
    assert len(found.rows) == 10
    assert all(cell.right is None for row in found.rows for cell in row)


def test_settings_are_flattened() -> None:
    assert flat({"a": {"b": 1}, "c": [{"d": 2}], "e": [1, 2]}) == {"a.b": 1, "c.0.d": 2, "e": [1, 2]}


def test_the_confusions_shown_are_those_of_the_most_telling_probe() -> None:
    from unlabeled.report.gather import _confusions

    def titles(*probes: str) -> list[str]:
        found = {name: {"confusion": [[1, 0], [0, 1]]} for name in probes}
        return [shown.title for shown in _confusions([{"data": "d", "classes": ["a", "b"], "probes": found}])]

    assert titles("knn", "lda") == ["LDA probe on d"]
    assert titles("mahalanobis") == ["Mahalanobis probe on d"]
    assert titles() == []
