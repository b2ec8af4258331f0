"""All methods by name. Adding one: write its file, list it here, give it a recipe."""

from __future__ import annotations

from unlabeled.ssl.method import Method
from unlabeled.ssl.rotation import Rotation
from unlabeled.ssl.simclr import SimCLR

METHODS: dict[str, type[Method]] = {
    "rotation": Rotation,
    "simclr": SimCLR,
}
