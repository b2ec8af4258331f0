"""A whole life on 807 mixed pictures, as a new user would type it: every command must work, and say nothing strange.

    apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb stamps
    pip download --no-deps scikit-image && unzip -q scikit_image-*.whl 'skimage/data/*'
    python benchmarks/tuxpaint.py --stamps stamps/usr/share/tuxpaint/stamps --pictures skimage/data [--epochs 5]

The folder has 796 drawings and photographs, most with transparency, in 16 class folders (Debian's
`tuxpaint-stamps-default`, sides of 7 to 2,348 pixels) beside their sounds and texts, and 11 pictures of scikit-image,
gray and RGB, PNG and JPEG, as a class of their own. Each command is a process of its own; the walk stops at the first
that stumbles.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PICTURES = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "moon.png", "rocket.jpg",
)  # fmt: skip
STRANGE = re.compile(r"Traceback|Warning|warning:|\bnan\b")
EMBED = """
import numpy, unlabeled
vectors = unlabeled.embed("life", "photos")
assert numpy.isfinite(vectors).all() and vectors.std() > 0
print(vectors.shape)
"""


def rebuild(stamps: Path, pictures: Path, folder: Path) -> int:
    """Copy the stamps as they lie (sounds and texts too) and the pictures beside them; return the number of images."""
    shutil.copytree(stamps, folder, ignore=shutil.ignore_patterns("*.svg"))
    (folder / "pictures").mkdir()
    for name in PICTURES:
        shutil.copyfile(pictures / name, folder / "pictures" / name)
    return sum(path.suffix.lower() in (".png", ".jpg") for path in folder.rglob("*"))


def life(epochs: int, request: Path) -> list[tuple[str, Sequence[str]]]:
    """The commands in their order, each with what it must say."""
    settings = f"data.size=64 batch_size=64 epochs={epochs}"
    return [
        (f"pretrain simclr --data photos {settings} --dry-run", ("time", "held out")),
        (f"pretrain simclr --data photos {settings} --out life", ("unlabeled probe life",)),
        ("probe life pixels", ("linear", "kNN", "NMC")),
        (f"finetune life epochs={epochs} --out sorted", ("held-out images",)),
        ("predict sorted photos --out classes.csv", ("classes.csv",)),
        (f"forget life --forget files:{request.name} epochs=2 vae_epochs=2 --out later", ("retrain", "laf")),
        ("export life --to timm", ("life",)),
        ("export life --to torchscript", ("life",)),
        ("export life --to onnx", ("life",)),
        ("export later --to hub", ("later",)),
        ("neighbours life photos -k 3 --out near.csv", ("pairs",)),
        ("probe later pixels", ("linear",)),
        ("report life later --out page.html", ("page.html",)),
        ("runs --compare life later", ("forgot",)),
        ("runs .", ("simclr, then laf", "finetune")),
    ]


def step(arguments: Sequence[str], place: Path, wanted: Sequence[str]) -> float:
    """Carry a command out and return its seconds.

    Raises:
        SystemExit: it failed, said something strange, or did not say what it must.
    """
    begun = time.monotonic()
    done = subprocess.run(arguments, cwd=place, capture_output=True, text=True, encoding="utf-8", check=False)
    seconds = time.monotonic() - begun
    said = done.stdout + done.stderr
    missing = [word for word in wanted if word not in said]
    strange = STRANGE.findall(said)
    if done.returncode or missing or strange:
        sys.exit(f"{said}\nstumbled: exit code {done.returncode}, not said: {missing}, strange: {strange}")
    return seconds


def main() -> None:
    """Rebuild the folder and walk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--skip", type=int, default=0, help="commands that were done before, in --keep")
    parser.add_argument("--keep", type=Path, help="leave everything in this folder")
    chosen = parser.parse_args()
    os.environ["PYTHONIOENCODING"] = "utf-8"
    with tempfile.TemporaryDirectory() as made:
        place = chosen.keep or Path(made)
        place.mkdir(exist_ok=True)
        if not chosen.skip:
            print(f"{rebuild(chosen.stamps, chosen.pictures, place / 'photos')} images")
        asked = sorted(
            str(path.relative_to(place / "photos")) for path in (place / "photos" / "animals").rglob("*.png")
        )
        request = place / "request.txt"
        request.write_text("\n".join(asked[::4]), encoding="utf-8")
        for command, wanted in life(chosen.epochs, request)[chosen.skip :]:
            seconds = step([sys.executable, "-m", "unlabeled", *command.split()], place, wanted)
            print(f"{seconds:5.0f} s  unlabeled {command}", flush=True)
        seconds = step([sys.executable, "-c", EMBED], place, ("256",))
        print(f'{seconds:5.0f} s  unlabeled.embed("life", "photos")')


if __name__ == "__main__":
    main()
