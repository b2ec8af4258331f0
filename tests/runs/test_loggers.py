"""Numbers reach the loggers that are installed; one that is not is named before anything is done."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from unlabeled.core.errors import UserError
from unlabeled.core.progress import set_quiet
from unlabeled.runs.loggers import make_loggers
from unlabeled.verbs.pretrain import pretrain

TINY = (
    "data=noise:64",
    "data.size=16",
    "data.channels=1",
    "epochs=1",
    "batch_size=32",
    "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16], stem_stride: 2}",
    "health.every=0",
    "output.log_every=1",
    "hardware.precision=32-true",
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    set_quiet(True)
    yield
    set_quiet(False)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_said_before_anything_is_done(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(UserError, match=rf"output.logger={name} needs the package '{name}'.*unlabeled\[{name}\]"):
        pretrain("simclr", tmp_path / "run", overrides=(*TINY, f"output.logger={name}"))
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = pretrain("simclr", tmp_path / "run", overrides=(*TINY, "output.logger=tensorboard"))
    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    kept = yaml.safe_load((run.folder / "tensorboard" / "hparams.yaml").read_text())
    assert kept == run.recipe().model_dump(mode="json")


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    pretrain("simclr", tmp_path / "run", overrides=(*TINY, "output.logger=mlflow"))
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("unlabeled").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["method/name"] == "simclr"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]


def test_wandb_offline_and_twice_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("one", "two"):
        pretrain("simclr", tmp_path / name, overrides=(*TINY, "output.logger=wandb"))
        assert len(list((tmp_path / name / "wandb").glob("offline-run-*/*.wandb"))) == 1


def test_a_service_that_refuses_is_said_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        make_loggers("mlflow", tmp_path, {})
