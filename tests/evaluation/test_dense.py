"""Dense evaluation: maps of any backbone, masks, scores against torchmetrics, bounded memory."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from unlabeled import backbones
from unlabeled.backbones import Backbone
from unlabeled.core.errors import UserError
from unlabeled.evaluation.dense.maps import at_size, maps
from unlabeled.evaluation.dense.masks import MaskedImages
from unlabeled.evaluation.dense.pictures import class_colours, pca_colours
from unlabeled.evaluation.dense.score import Confusion
from unlabeled.evaluation.dense.segment import READERS, Patches, collect, predict, segment


def backbone(name, **args):
    made = backbones.create(name, in_chans=3, image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0, **args)
    return Backbone(made)


@pytest.fixture
def folder(tmp_path):
    """Red squares (1) and blue stripes (2) on grey (0), a void corner (9)."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}annot").mkdir()
        for i in range(count):
            mask = np.zeros((48, 64), np.uint8)
            y, x = rng.integers(0, 24), rng.integers(0, 32)
            mask[y : y + 24, x : x + 24] = 1
            mask[:, 56:] = 2
            picture = np.array([[120, 120, 120], [220, 20, 20], [20, 20, 220]], np.uint8)[mask]
            noise = rng.integers(0, 20, picture.shape, dtype=np.uint8)
            mask[:4, :4] = 9
            Image.fromarray(picture + noise).save(tmp_path / split / f"{i}.png")
            Image.fromarray(mask).save(tmp_path / f"{split}annot" / f"{i}.png")
    return tmp_path


def test_scores_are_torchmetrics():
    rng = np.random.default_rng(0)
    pairs = [
        (torch.from_numpy(rng.integers(0, 5, (9, 7))), torch.from_numpy(rng.integers(-1, 5, (9, 7)))) for _ in "abc"
    ]
    ours = Confusion.total(Confusion.of(p, m, 5) for p, m in pairs).measures()
    answers, masks = torch.stack([p for p, _ in pairs]), torch.stack([m for _, m in pairs])
    theirs = {
        "miou": MulticlassJaccardIndex(5, ignore_index=-1, validate_args=False),
        "macc": MulticlassAccuracy(5, average="macro", ignore_index=-1, validate_args=False),
        "accuracy": MulticlassAccuracy(5, average="micro", ignore_index=-1, validate_args=False),
    }
    for name, metric in theirs.items():
        assert ours[name] == pytest.approx(float(metric(answers, masks)), abs=1e-6), name


@pytest.mark.parametrize(
    ("name", "args", "grid"), [("resnet10t", {}, (2, 3)), ("vit_tiny_patch16_224", {"depth": 2}, (4, 6))]
)
def test_maps_at_another_resolution(name, args, grid):
    model = backbone(name, **args)
    batches = list(maps(at_size(model, 64, 96), torch.randint(0, 255, (3, 3, 64, 96), dtype=torch.uint8), 2))
    assert [len(batch) for batch in batches] == [2, 1]
    assert tuple(batches[0].shape[2:]) == grid


def test_a_token_of_a_transformer_lies_where_its_patch_is():
    model = backbone("vit_tiny_patch16_224", depth=1)
    images = torch.zeros(2, 3, 32, 64, dtype=torch.uint8)
    images[1, :, 16:, 48:] = 255  # the last patch of the second row
    [found] = maps(at_size(model, 32, 64), images, 2)
    assert model.embed(images).shape == (2, 192)  # the backbone itself is as it was
    changed = (found[0] - found[1]).norm(dim=0)
    assert changed.argmax() == 7
    assert changed.shape == (2, 4)


@pytest.mark.parametrize("name", READERS)
def test_segmentation_learns_colours(name, folder):
    model = backbone("resnet10t")
    train = MaskedImages.folder(folder, "train", 96, 128, void=9)
    test = MaskedImages.folder(folder, "test", 96, 128, void=9)
    patches = collect(model, train, 3)
    found = Confusion.total(segment(model, READERS[name](patches), test, 3))
    assert found.counts.sum() == 4 * (48 * 64 - 16)  # every pixel but void, once, at the masks' own size
    guess = Confusion.total(Confusion.of(torch.zeros_like(m), m, 3) for _, masks in test.batches() for m in masks)
    assert found.measures()["miou"] > guess.measures()["miou"] + 0.1


def test_a_bank_keeps_to_its_bytes(folder):
    train = MaskedImages.folder(folder, "train", 96, 128, void=9)
    model = backbone("resnet10t")
    whole, part = collect(model, train, 3), collect(model, train, 3, max_bytes=12 * 5 * 2 * 512)
    assert len(whole.features) == 12 * 3 * 4
    assert len(part.features) == 12 * 5
    assert torch.equal(part.features, collect(model, train, 3, max_bytes=12 * 5 * 2 * 512).features)


def test_in_context_reads_the_shares_of_the_nearest_patches():
    memory = Patches(torch.eye(4).half(), torch.tensor([[1, 0], [0.25, 0.75], [0, 1], [0, 1]]).half())
    maps_ = torch.tensor([0.0, 1.0, 0.0, 0.0]).view(1, 4, 1, 1)
    reader = READERS["in_context"](memory)
    assert torch.allclose(reader.read(maps_.flatten(1)), torch.tensor([[0.25, 0.75]]), atol=1e-3)
    assert (predict(reader, maps_, [torch.zeros(5, 7)])[0] == 1).all()


def test_pictures():
    colours = pca_colours(torch.randn(2, 8, 4, 5, generator=torch.Generator().manual_seed(0)))
    assert colours.shape == (2, 3, 4, 5)
    assert colours.min() == 0
    assert colours.max() == 255
    painted = class_colours(torch.tensor([[0, 1], [2, -1]]))
    assert painted.shape == (3, 2, 2)
    assert painted[:, 1, 1].tolist() == [0, 0, 0]
    assert len({tuple(painted[:, y, x].tolist()) for y in (0, 1) for x in (0, 1)}) == 4


def test_bad_input(folder):
    with pytest.raises(UserError, match="no pictures"):
        MaskedImages.folder(folder, "val", 32, 32)
    with pytest.raises(UserError, match="multiples"):
        at_size(backbone("vit_tiny_patch16_224", depth=1), 30, 32)
    images = MaskedImages.folder(folder, "test", 32, 32)
    with pytest.raises(UserError, match="holds class 9"):
        collect(backbone("resnet10t"), images, 3)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "testannot" / "2.png")
    with pytest.raises(UserError, match="8x8 pixels"):
        list(images.batches())
    (folder / "testannot" / "1.png").unlink()
    with pytest.raises(UserError, match="missing"):
        MaskedImages.folder(folder, "test", 32, 32)


def test_linear_bins_read_depth(tmp_path):
    """The brighter, the nearer; read from a ramp of gray by a linear layer."""
    from unlabeled.evaluation.tasks import TASKS, TaskConfig

    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for name in (split, f"{split}depth"):
            (tmp_path / name).mkdir()
        for i in range(count):
            depth = (rng.integers(2, 9, (4, 6)) * 1000).repeat(16, 0).repeat(16, 1).astype(np.uint16)
            gray = (255 - depth // 40).astype(np.uint8)
            depth[:3] = 0  # nothing known
            Image.fromarray(gray).convert("RGB").save(tmp_path / split / f"{i}.png")
            Image.fromarray(depth).save(tmp_path / f"{split}depth" / f"{i}.png")
    model = backbone("vit_tiny_patch16_224", depth=1)

    class Bench:
        seed, device = 0, "cpu"

        def backbone(self):
            return model

        def folder(self, name):
            return tmp_path

    options = {"height": 64, "width": 96}
    found = TASKS["depth"](TaskConfig(task="depth", data="x", options=options), Bench())
    assert found.value == pytest.approx(found.per_image.mean())
    assert len(found.per_image) == 3
    assert found.measures["abs_rel"] < 0.25  # a constant is off by half
    assert found.measures["rmse"] < 1500
    for file in (tmp_path / "testdepth").iterdir():
        Image.fromarray(np.zeros((64, 96), np.uint16)).save(file)
    with pytest.raises(UserError, match="no pixel"):
        TASKS["depth"](TaskConfig(task="depth", data="x", options=options), Bench())


def test_depth_errors_and_bins():
    from unlabeled.evaluation.dense.depth import LinearBins, errors

    found = errors(torch.tensor([[1.2, 3.0, 9.0]]), torch.tensor([[1.0, 2.0, 0.0]]))
    assert found == {
        "delta1": 0.5,
        "abs_rel": pytest.approx((0.2 + 0.5) / 2),
        "rmse": pytest.approx(((0.04 + 1) / 2) ** 0.5),
    }
    tokens = torch.linspace(-1, 1, 400).unsqueeze(1)
    read = LinearBins(tokens, 5 + 2 * tokens[:, 0]).read(tokens)
    assert (read - (5 + 2 * tokens[:, 0])).abs().mean() < 0.5
    with pytest.raises(UserError, match="all training depths"):
        LinearBins(tokens, torch.ones(400))
