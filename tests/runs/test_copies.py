from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlabeled.cli.app import main
from unlabeled.data import open_data
from unlabeled.data.forget_sets import ForgetSplit
from unlabeled.runs.copies import near_copies
from unlabeled.runs.folder import Run
from unlabeled.verbs.pretrain import pretrain


def test_near_copies_are_measured_by_how_near_others_lie() -> None:
    # images on half a circle (and, to centre them, on its other half), each 0.2 rad from the next, but for the last two
    angle = np.arange(15) * 0.2
    angle = np.append(angle, [angle[7] + 0.04, angle[9] + 0.1])
    points = np.stack([np.cos(angle), np.sin(angle)], 1)
    features = np.concatenate([points, -points]).astype(np.float32) + 3  # an offset that all share says nothing
    found, threshold = near_copies(features, np.array([7, 9]), np.setdiff1d(np.arange(34), [7, 9]))
    assert threshold == pytest.approx(0.05 * (1 - np.cos(0.2)), rel=0.01)
    assert found.tolist() == [15], "in cosine 0.04 rad is 1/25 of the others' distance, 0.1 rad a quarter"


@pytest.mark.parametrize("take", [False, True])
def test_a_request_lists_copies_and_takes_them_along(
    take: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(1)
    for number in range(60):
        coarse = random.integers(0, 256, (4, 4), np.uint8)
        Image.fromarray(coarse).resize((16, 16), Image.Resampling.BICUBIC).save(f"photos/{number:02}.png")
    asked = open_data("photos", "train").paths[0]
    pixels = Image.open(asked)
    saved = io.BytesIO()
    pixels.save(saved, "JPEG", quality=97)
    for number in range(4):  # some of them are held out
        pixels.save(f"photos/copy-{number}.png")
        Image.open(saved).save(f"photos/near-{number}.png")
    small = "backbone.args={layers: [1, 1, 1, 1], channels: [16, 16, 32, 32]}"
    pretrain("random", tmp_path / "run", overrides=("data=photos", "epochs=0", small))
    train = open_data("photos", "train").paths
    copies = {name for name in train if "copy-" in name or "near-" in name}
    assert copies
    (tmp_path / "request.txt").write_text(asked)
    words = ["unlabeled", "forget", "run", "--forget", "files:request.txt", "epochs=1", "vae_epochs=1", "--no-retrain"]
    monkeypatch.setattr("sys.argv", [*words, "--out", "out", *(["--with-copies"] if take else [])])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert all(name in said for name in copies)
    assert ("--with-copies takes them along" in said) is not take
    facts = Run("out").read_json("record.json")["copies"]
    assert facts["exact"] == sum("copy-" in name for name in copies)
    assert facts["near"] >= sum("near-" in name for name in copies)
    assert facts["exact_held_out"] == 4 - facts["exact"]
    assert facts["taken_along"] is take
    forgotten = {train[row] for row in ForgetSplit.load(Path("out/forgetting/split.npz")).forget_rows}
    assert (copies <= forgotten) is take
    assert asked in forgotten
    assert not any(name in Path("out/record.json").read_text() for name in train), "the record names nobody"
