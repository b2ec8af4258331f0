"""Backbones are plain timm models. Importing this package registers the small-image variants with timm."""

from unlabeled.backbones.calibrate import calibrate_batchnorm
from unlabeled.backbones.classified import save_with_classifier
from unlabeled.backbones.create import check_name, create
from unlabeled.backbones.features import Backbone, layer_names
from unlabeled.backbones.foreign import stated_normalisation
from unlabeled.backbones.hub import hub_folder, timm_folder
from unlabeled.backbones.interop import IMAGENET, LoadReport, adopt, load_weights, normalisation
from unlabeled.backbones.layers import add_adapters, freeze_first, layer_numbers, merged
from unlabeled.backbones.lineage import (
    Origin,
    Seen,
    digest_of,
    lineage_of,
    read_lineage,
    remember_lineage,
    write_lineage,
)
from unlabeled.backbones.small import SMALL
from unlabeled.backbones.storage import load, load_config, remember_rule, save

__all__ = [
    "IMAGENET",
    "SMALL",
    "Backbone",
    "LoadReport",
    "Origin",
    "Seen",
    "add_adapters",
    "adopt",
    "calibrate_batchnorm",
    "check_name",
    "create",
    "digest_of",
    "freeze_first",
    "hub_folder",
    "layer_names",
    "layer_numbers",
    "lineage_of",
    "load",
    "load_config",
    "load_weights",
    "merged",
    "normalisation",
    "read_lineage",
    "remember_lineage",
    "remember_rule",
    "save",
    "save_with_classifier",
    "stated_normalisation",
    "timm_folder",
    "write_lineage",
]
