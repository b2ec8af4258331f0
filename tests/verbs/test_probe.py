"""`unlabeled probe` with everything it can be asked for: models side by side, protocols, the documented JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from unlabeled.cli.present import table

DOC = Path(__file__).parents[2] / "docs" / "probes.md"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six easy classes of 8 x 8 images."""
    file = tmp_path_factory.mktemp("data") / "data.npz"
    random = np.random.default_rng(0)

    def blobs(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 6
        pixels = random.normal(90, 25, (count, 8, 8))
        for c in range(6):
            pixels[labels == c, c : c + 2] += 60
        return pixels.clip(0, 255).astype(np.uint8), labels

    (x, y), (x_test, y_test) = blobs(180), blobs(120)
    np.savez(file, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return f"npz:{file}"


def keys(value: object) -> set[str]:
    """All keys of a JSON value, those that are names of probes or of hyper-parameters left out."""
    if isinstance(value, list):
        return set().union(*(keys(v) for v in value)) if value else set()
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for key, inner in value.items():
        found |= {key}
        if key == "probes":
            found |= set().union(*(keys(v) for v in inner.values()))
        elif key != "chosen":
            found |= keys(inner)
    return found


def test_everything_at_once_is_one_table_one_file_one_picture(cli: Cli, data: str, tmp_path: Path) -> None:
    options = ["--probes", "nmc,ridge", "--labels", "10%,2-per-class", "--draws", "2", "--incremental", "3"]
    code, out, err = cli(
        "probe", "pixels", "random:resnet10_small", "--data", data, *options,
        "--episodes", "3-way-1-shot,3-way-5-shot", "--json", "out.json",
    )  # fmt: skip
    assert code == 0, err
    for words in ("pixels", "random:resnet10_small", "10%: 18 labels, 2 draws", "2-per-class: 12 labels", "NMC",
                  "ridge", "classes in 3 steps", "FeTrIL", "forgetting", "3-way 1-shot", "3-way 5-shot"):  # fmt: skip
        assert words in out, words
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["schema"] == "unlabeled.probe/1"
    assert [report["model"] for report in written["reports"]] == ["pixels", "random:resnet10_small"]
    first = written["reports"][0]
    assert [few["labels"] for few in first["few_labels"]] == ["10%", "2-per-class"]
    assert all(len(probe["draws"]) == 2 for few in first["few_labels"] for probe in few["probes"].values())
    assert list(first["incremental"]["probes"]) == ["nmc", "lda", "ridge", "fetril"]
    assert [(e["ways"], e["shots"]) for e in first["episodes"]] == [(3, 1), (3, 5)]
    assert first["incremental"]["probes"]["ridge"]["final"] == first["probes"]["ridge"]["top1"]
    assert Image.open(tmp_path / "out.png").width > 300
    text = DOC.read_text()
    missing = {key for key in keys(written) if f"`{key}`" not in text and f'"{key}"' not in text}
    assert not missing, f"docs/probes.md says nothing of {missing}"


def test_every_probe_by_name(cli: Cli, data: str, tmp_path: Path) -> None:
    from unlabeled.probes.catalog import SUITE

    code, out, err = cli("probe", "pixels", "--data", data, "--probes", ",".join(SUITE), "--json", "out.json")
    assert code == 0, err
    (report,) = json.loads((tmp_path / "out.json").read_text())["reports"]
    assert list(report["probes"]) == list(SUITE)
    assert all(probe["top1"] > 0.5 for probe in report["probes"].values())
    assert all(f"`{name}`" in DOC.read_text() for name in SUITE)
    assert "Mahalanobis" in out


def test_layers_and_pools(cli: Cli, data: str, tmp_path: Path) -> None:
    dimensions = {}
    for layer, pool in (("layer1", "avg"), ("layer1", "flat"), ("-1", "max")):
        arguments = ["--layer", layer, "--pool", pool, "--probes", "nmc", "--json", "out.json"]
        code, _, err = cli("probe", "random:resnet10_small", "--data", data, *arguments)
        assert code == 0, err
        dimensions[layer, pool] = json.loads((tmp_path / "out.json").read_text())["reports"][0]["dimension"]
    assert dimensions["layer1", "avg"] < dimensions["-1", "max"]
    assert dimensions["layer1", "flat"] == 64 * dimensions["layer1", "avg"]


def test_what_a_run_was_probed_for_before_stays_in_its_report(cli: Cli, data: str, tmp_path: Path) -> None:
    code, _, err = cli("pretrain", "random", f"data={data}", "--out", "run")
    assert code == 0, err

    def report(*arguments: str) -> dict[str, object]:
        code, _, err = cli("probe", "run", *arguments)
        assert code == 0, err
        return json.loads(next((tmp_path / "run" / "probes").glob("*.json")).read_text())

    first = report("--probes", "nmc,lda", "--incremental", "3")
    second = report("--probes", "nmc,knn")
    assert list(second["probes"]) == ["nmc", "lda", "knn"]
    assert second["probes"]["lda"] == first["probes"]["lda"]
    assert second["incremental"] == first["incremental"]
    assert list(report("--probes", "nmc", "--seed", "1")["probes"]) == ["nmc"]  # others would not be comparable
    report("--probes", "nmc", "--calibrate-batchnorm")
    assert len(list((tmp_path / "run" / "probes").glob("*-calibrated.json"))) == 1


def test_a_title_is_one_line_however_narrow_the_table() -> None:
    title = "accuracy on held-out images of npz:/a/rather/long/path/to/some/photographs/of/somebody.npz, in per cent"
    assert table(["model", "NMC"], [["pixels", "1.0"]], title).splitlines()[0] == title


def test_features_beyond_float16_are_kept_in_float32(cli: Cli, data: str, tmp_path: Path) -> None:
    def report() -> dict[str, object]:
        code, _, err = cli("probe", "local-dir:run/backbone", "--data", data, "--probes", "lda", "--json", "out.json")
        assert code == 0, err
        return json.loads((tmp_path / "out.json").read_text())["reports"][0]["probes"]["lda"]["top1"]

    assert cli("pretrain", "random", f"data={data}", "--out", "run")[0] == 0
    before = report()
    weights = load_file(file := tmp_path / "run" / "backbone" / "model.safetensors")
    (last,) = (name for name in weights if re.fullmatch(r"layer4\.0\.bn2\.weight", name))
    short = last.replace("bn2", "downsample.1")
    for name in (last, last.replace("weight", "bias"), short, short.replace("weight", "bias")):
        weights[name] *= 1e6
    save_file(weights, file)
    assert report() == pytest.approx(before, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "ten"], "'10%' or a number as '5-per-class'"),
        (["--labels", "10%", "--draws", "0"], "--draws must be at least 1"),
        (["--incremental", "9"], "6 classes cannot be dealt into 9 steps"),
        (["--episodes", "5x1"], "write it like 5-way-1-shot"),
        (["--episodes", "9-way-1-shot"], "there are only 6 classes"),
        (["--episodes", "3-way-6-shot"], "need 3 classes of 21 rows"),
        (["--layer", "layer9"], "layer9"),
        (["--pool", "median"], "median"),
        (["--probes", "logistics"], "Did you mean 'logistic'?"),
        (["nowhere"], "no model 'nowhere'"),
        (["random:resnet1x"], "timm has no model"),
    ],
)
def test_mistakes_are_named_before_anything_is_computed(
    cli: Cli, data: str, arguments: list[str], message: str
) -> None:
    code, out, err = cli("probe", "random:resnet10_small", "--data", data, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert "img" not in err


def test_the_python_of_the_page_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOC.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(DOC), "exec"), names)


def test_the_page_names_every_measure() -> None:
    from unlabeled.probes import measures

    made = {n for n, f in vars(measures).items() if getattr(f, "__module__", "") == measures.__name__}
    public = {n for n in made if not n.startswith("_")} - {"measure"}
    assert {n for n in public if f"`{n}`" not in DOC.read_text()} == set()


def test_finished_models_are_printed_and_written_whatever_happens_to_the_next(
    cli: Cli, data: str, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"architecture": "resnet10_small"}')
    code, out, err = cli(
        "probe", "pixels", f"local-dir:{tmp_path / 'broken'}", "--data", data, "--probes", "nmc", "--json", "out.json"
    )
    assert code == 2, err
    assert "pixels" in out
    assert [report["model"] for report in json.loads(Path("out.json").read_text())["reports"]] == ["pixels"]


def test_probes_compute_where_the_features_were_made(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with a GPU, that is the GPU: a device that is not there must be what every probe asks for."""
    import torch

    from unlabeled.verbs import probe as verb

    monkeypatch.setattr(verb, "chosen", lambda: torch.device("meta"))
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        verb.probe("pixels", data, probes=("nmc",))
