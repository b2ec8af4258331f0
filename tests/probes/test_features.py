"""The feature bank: the model's own numbers, cached, resumed after a kill, shared by ranks and processes."""

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unlabeled.backbones import Backbone, create
from unlabeled.core.errors import UserError
from unlabeled.data.decode import decode
from unlabeled.probes import store
from unlabeled.probes.features import FeatureBank, extract, fingerprint

MEAN, STD = (0.3, 0.5, 0.6), (0.2, 0.25, 0.3)


class Pictures:
    """Random images; counts what is read."""

    def __init__(self, n=300, pause=0.0):
        self.pixels = torch.randint(0, 256, (n, 3, 8, 8), generator=torch.manual_seed(0)).to(torch.uint8)
        self.labels = np.arange(n) % 3
        self.fingerprint, self.shape, self.pause, self.read = f"random-{n}", (3, 8, 8), pause, 0

    def __len__(self):
        return len(self.pixels)

    def gather(self, rows):
        time.sleep(self.pause)
        self.read += len(rows)
        return self.pixels[torch.from_numpy(rows)]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(180, 7)
    )


def expected(model, images):
    x = (images.pixels.double() / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    with torch.no_grad():
        return model.double().eval()(x).float().numpy()


def run(model, images, cache=None, **kwargs):
    return extract(model, images, mean=MEAN, std=STD, cache=cache, **{"dtype": "float32", "batch_size": 32, **kwargs})


def test_is_what_the_model_says(tmp_path):
    model, images = network(), Pictures()
    model.train()
    model[1].eval()
    bank = run(model, images, tmp_path)
    assert model.training
    assert not model[1].training
    assert np.allclose(bank.features, expected(model, images), atol=1e-5)
    assert (bank.labels == images.labels).all()
    assert isinstance(bank.features, np.memmap)
    assert run(network(), images, None, dtype="float16").features.dtype == np.float16


def test_is_computed_once_for_each_model_data_and_transform(tmp_path):
    images = Pictures()
    first = run(network(), images, tmp_path)
    assert images.read == 300
    assert np.array_equal(run(network(), images, tmp_path).features, first.features)
    assert images.read == 300
    keys = {first.fingerprint}
    for model, options in (
        (network(1), {}),
        (network(), {"dtype": "float16"}),
        (network(), {"autocast": "bfloat16"}),
        (network(), {"layer": "first", "forward": lambda x: x.flatten(1)[:, :9]}),
    ):
        keys.add(run(model, images, tmp_path, **options).fingerprint)
    keys.add(extract(network(), images, mean=(0, 0, 0), std=STD, cache=tmp_path).fingerprint)
    keys.add(run(network(), Pictures(200), tmp_path).fingerprint)
    assert len(keys) == 7


@pytest.mark.parametrize(("layer", "pool"), [("layer1", "avg"), ("-1", "flat"), (None, "max")])
def test_inner_layers_and_pools(tmp_path, layer, pool):
    model = create("resnet10_small", in_chans=3, image_size=8, mean=MEAN, std=STD, seed=0).train()
    images = Pictures(40)
    bank = run(model, images, tmp_path, layer=layer, pool=pool)
    assert model.training
    inner = Backbone(model, layer, pool).eval()
    x = (images.pixels.float() / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    with torch.no_grad():
        assert np.allclose(bank.features, inner(x), atol=1e-4)
    wrapped = run(inner, images, tmp_path)
    assert np.array_equal(wrapped.features, bank.features)
    assert wrapped.fingerprint != run(Backbone(model), images, tmp_path).fingerprint


def test_resizes_as_files_are_resized():
    bank = run(nn.Flatten(), Pictures(40), size=4)
    arrays = Pictures(40).pixels.numpy().transpose(0, 2, 3, 1)
    resized = np.stack([decode(array, 4, 4, 3) for array in arrays]).transpose(0, 3, 1, 2)
    x = (torch.from_numpy(resized.copy()) / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(
        1, 3, 1, 1
    )
    assert np.allclose(bank.features, x.flatten(1), atol=1e-6)


def test_interrupted_extraction_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SYNC_ROWS", 64)
    images, calls = Pictures(), 0
    gather = images.gather

    def failing(rows):
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return gather(rows)

    monkeypatch.setattr(images, "gather", failing)
    with pytest.raises(KeyboardInterrupt):
        run(network(), images, tmp_path)
    monkeypatch.setattr(images, "gather", gather)
    images.read = 0
    bank = run(network(), images, tmp_path, batch_size=50)  # goes on in batches of 32
    assert 0 < images.read <= 300 - 4 * 32
    assert np.array_equal(bank.features, run(network(), images).features)


@pytest.mark.parametrize("n", [160, 1600])
def test_no_more_than_a_few_batches_are_ever_held(tmp_path, monkeypatch, n):
    images, alive, most = Pictures(n), 0, 0
    gather = images.gather

    def gone():
        nonlocal alive
        alive -= 1

    def counted(rows):
        nonlocal alive, most
        assert len(rows) <= 32
        pixels = gather(rows)
        weakref.finalize(pixels, gone)
        alive += 1
        most = max(most, alive)
        return pixels

    monkeypatch.setattr(images, "gather", counted)
    assert len(run(network(), images, tmp_path).features) == n
    assert most <= 3, "one is computed while the next is read"


SCRIPT = """
import sys, pathlib
sys.path.insert(0, {tests!r})
from test_features import Pictures, network, run, store
store.SYNC_ROWS = 32
print("go", flush=True)
run(network(), Pictures(pause={pause}), pathlib.Path(sys.argv[1]))
"""


def start(tmp_path, pause):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), pause=pause))
    return subprocess.Popen([sys.executable, str(script), str(tmp_path / "bank")], stdout=subprocess.PIPE)


@pytest.mark.slow
def test_killed_process_leaves_no_half_batch_believed(tmp_path):
    process = start(tmp_path, 0.4)
    process.stdout.readline()
    journal, deadline = tmp_path / "bank", time.monotonic() + 60
    while not any(j.stat().st_size >= 2 for j in journal.glob("*/journal.bin")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    images = Pictures()
    bank = run(network(), images, tmp_path / "bank")
    assert 0 < images.read < 300
    assert np.array_equal(bank.features, run(network(), Pictures()).features)


@pytest.mark.slow
def test_two_processes_at_once(tmp_path):
    process = start(tmp_path, 0.02)
    process.stdout.readline()
    bank = run(network(), Pictures(pause=0.01), tmp_path / "bank")
    assert process.wait(60) == 0
    assert np.array_equal(bank.features, run(network(), Pictures()).features)
    assert len(list((tmp_path / "bank").glob("*/features.bin"))) == 1


@pytest.mark.parametrize("damage", ["features.bin", "manifest.json"])
def test_damaged_bank_is_made_anew(tmp_path, damage):
    bank = run(network(), Pictures(), tmp_path)
    file = tmp_path / bank.fingerprint / damage
    os.truncate(file, file.stat().st_size // 2)
    images = Pictures()
    assert np.array_equal(run(network(), images, tmp_path).features, run(network(), Pictures()).features)
    assert images.read == 300


RANKS = """
import os, sys, pathlib
sys.path.insert(0, {tests!r})
import torch.distributed as dist, numpy as np
from test_features import Pictures, network, run
dist.init_process_group("gloo")
images = Pictures()
bank = run(network(), images, pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None)
assert 100 < images.read < 200, images.read
if dist.get_rank() == 0: np.save({out!r}, np.array(bank.features))
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("cached", [True, False])
def test_ranks_share_the_work(tmp_path, cached):
    script, out = tmp_path / "ranks.py", tmp_path / "out.npy"
    script.write_text(RANKS.format(tests=str(Path(__file__).parent), out=str(out)))
    command = [sys.executable, str(script), *([str(tmp_path / "bank")] if cached else [])]
    port = str(20_000 + os.getpid() % 20_000 + cached)
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    ranks = [subprocess.Popen(command, env={**env, "RANK": str(rank)}) for rank in range(2)]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    assert np.array_equal(np.load(out), run(network(), Pictures()).features)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (nn.Identity(), {}, "not \\(B, D\\)"),
        (nn.Flatten(), {"mean": (0.0,)}, "3 values"),
        (nn.Flatten(), {"forward": lambda x: x.flatten(1), "cache": "somewhere"}, "layer="),
        (nn.Sequential(nn.Flatten(), nn.Threshold(99.0, float("nan"))), {}, "NaN or infinite"),
        (nn.Sequential(nn.Flatten(), nn.Threshold(99.0, 1e6)), {"dtype": "float16"}, "exceed float16"),
    ],
)
def test_says_what_is_wrong(model, options, words):
    with pytest.raises(UserError, match=words):
        extract(model, Pictures(40), **{"mean": MEAN, "std": STD, **options})


def test_no_images():
    with pytest.raises(UserError, match="no images"):
        run(network(), Pictures(0))


def test_fingerprint_sees_weights_buffers_and_structure():
    base = network()
    buffered = network()
    buffered[1].running_mean += 1
    other = nn.Sequential(*list(network()[:2]), nn.GELU(), *list(network()[3:]))
    assert fingerprint(base) == fingerprint(network())
    assert len({fingerprint(m) for m in (base, buffered, other, network(1))}) == 4


class TestFeatureBank:
    def test_from_arrays(self):
        X = np.random.default_rng(0).normal(size=(10, 3))
        bank = FeatureBank.from_arrays(torch.from_numpy(X), torch.arange(10), classes=[str(i) for i in range(10)])
        assert (len(bank), bank.dim) == (10, 3)
        assert bank.fingerprint == FeatureBank.from_arrays(X).fingerprint
        assert bank.fingerprint != FeatureBank.from_arrays(X + 1).fingerprint
        part = bank.subset(np.array([4, 2]))
        assert part.labels.tolist() == [4, 2]
        assert np.array_equal(part.features, X[[4, 2]])
        assert bank.without_labels().labels is None
        for whole in ([[1, 2]], torch.tensor([[1, 2]], dtype=torch.bfloat16)):
            features = FeatureBank.from_arrays(whole).features
            assert features.dtype == np.float32
            assert features.tolist() == [[1, 2]]

    @pytest.mark.parametrize(
        ("X", "y"),
        [
            (np.ones(3), None),
            (np.ones((0, 3)), None),
            (np.ones((3, 2)), [1, 2]),
            ([["a", "b"]], None),
            ([[1, 2], [3]], None),
            (np.ones((3, 2)) * 1j, None),
        ],
    )
    def test_refuses(self, X, y):
        with pytest.raises(UserError, match="needs"):
            FeatureBank.from_arrays(X, y)
