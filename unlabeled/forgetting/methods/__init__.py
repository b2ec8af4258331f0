"""All forgetting algorithms by name."""

from __future__ import annotations

from unlabeled.forgetting.contract import Forgetter
from unlabeled.forgetting.methods.bad_teacher import BadTeacher, StochasticTeacher
from unlabeled.forgetting.methods.boundary import BoundaryExpand, BoundaryShrink
from unlabeled.forgetting.methods.duck import Duck
from unlabeled.forgetting.methods.exact_head import ExactLDA, ExactNMC, ExactRidge
from unlabeled.forgetting.methods.finetune import FineTune
from unlabeled.forgetting.methods.head_only import HeadOnly
from unlabeled.forgetting.methods.l1_sparse import L1Sparse
from unlabeled.forgetting.methods.laf import LAF
from unlabeled.forgetting.methods.laf_r import LAFR
from unlabeled.forgetting.methods.negative_gradient import NegativeGradient
from unlabeled.forgetting.methods.random_label import RandomLabel
from unlabeled.forgetting.methods.retrain import Retrain
from unlabeled.forgetting.methods.salun import SalUn
from unlabeled.forgetting.methods.scrub import Scrub
from unlabeled.forgetting.methods.ssd import LFSSD, SSD

METHODS: dict[str, type[Forgetter]] = {
    method.name: method
    for method in (
        LAF,
        LAFR,
        Retrain,
        HeadOnly,
        FineTune,
        L1Sparse,
        NegativeGradient,
        RandomLabel,
        BoundaryShrink,
        BoundaryExpand,
        Scrub,
        BadTeacher,
        StochasticTeacher,
        SSD,
        LFSSD,
        SalUn,
        Duck,
        ExactNMC,
        ExactLDA,
        ExactRidge,
    )
}
