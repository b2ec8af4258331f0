"""All methods by name. Adding one: write its file, list it here, give it a recipe (docs/add_a_method.md)."""

from __future__ import annotations

from unlabeled.ssl.barlow_twins import BarlowTwins
from unlabeled.ssl.byol import BYOL
from unlabeled.ssl.data2vec import Data2Vec
from unlabeled.ssl.dino import DINO
from unlabeled.ssl.dinov2 import DINOv2
from unlabeled.ssl.distill import Distill
from unlabeled.ssl.dmae import DMAE
from unlabeled.ssl.finetune import Finetune
from unlabeled.ssl.gsimclr import GSimCLR
from unlabeled.ssl.ibot import IBOT
from unlabeled.ssl.ijepa import IJEPA
from unlabeled.ssl.lejepa import LeJEPA
from unlabeled.ssl.mae import MAE
from unlabeled.ssl.method import Method
from unlabeled.ssl.moco import MoCo
from unlabeled.ssl.mocov3 import MoCoV3
from unlabeled.ssl.ncl import NCL
from unlabeled.ssl.nnclr import NNCLR
from unlabeled.ssl.random_init import RandomInit
from unlabeled.ssl.random_teacher import RandomTeacher
from unlabeled.ssl.rotation import Rotation
from unlabeled.ssl.self_distill import SelfDistill
from unlabeled.ssl.simclr import SimCLR
from unlabeled.ssl.simmim import SimMIM
from unlabeled.ssl.simsiam import SimSiam
from unlabeled.ssl.sla import SLA
from unlabeled.ssl.spark import SparK
from unlabeled.ssl.supcon import SupCon
from unlabeled.ssl.supervised import Supervised
from unlabeled.ssl.swav import SwAV
from unlabeled.ssl.vicreg import VICReg
from unlabeled.ssl.visreg import VISReg

METHODS: dict[str, type[Method]] = {
    "rotation": Rotation,
    "simclr": SimCLR,
    "gsimclr": GSimCLR,
    "ncl": NCL,
    "moco": MoCo,
    "mocov3": MoCoV3,
    "nnclr": NNCLR,
    "byol": BYOL,
    "simsiam": SimSiam,
    "barlow_twins": BarlowTwins,
    "vicreg": VICReg,
    "lejepa": LeJEPA,
    "visreg": VISReg,
    "swav": SwAV,
    "dino": DINO,
    "ibot": IBOT,
    "dinov2": DINOv2,
    "mae": MAE,
    "simmim": SimMIM,
    "ijepa": IJEPA,
    "data2vec": Data2Vec,
    "spark": SparK,
    "random_teacher": RandomTeacher,
    "distill": Distill,
    "dmae": DMAE,
    "self_distill": SelfDistill,
    "supcon": SupCon,
    "sla": SLA,
    "supervised": Supervised,
    "finetune": Finetune,
    "random": RandomInit,
}
