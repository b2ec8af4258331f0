"""All methods by name. Adding one: write its file, list it here, give it a recipe (docs/add_a_method.md)."""

from __future__ import annotations

from unlabeled.ssl.distill import Distill
from unlabeled.ssl.finetune import Finetune
from unlabeled.ssl.gsimclr import GSimCLR
from unlabeled.ssl.mae import MAE
from unlabeled.ssl.method import Method
from unlabeled.ssl.random_init import RandomInit
from unlabeled.ssl.random_teacher import RandomTeacher
from unlabeled.ssl.rotation import Rotation
from unlabeled.ssl.simclr import SimCLR
from unlabeled.ssl.supervised import Supervised
from unlabeled.ssl.swav import SwAV

METHODS: dict[str, type[Method]] = {
    "rotation": Rotation,
    "simclr": SimCLR,
    "gsimclr": GSimCLR,
    "swav": SwAV,
    "mae": MAE,
    "random_teacher": RandomTeacher,
    "distill": Distill,
    "supervised": Supervised,
    "finetune": Finetune,
    "random": RandomInit,
}
