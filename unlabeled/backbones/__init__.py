"""Backbones are plain timm models. Importing this package registers the small-image variants with timm."""

from unlabeled.backbones.calibrate import calibrate_batchnorm
from unlabeled.backbones.create import check_name, create
from unlabeled.backbones.features import Backbone, layer_names
from unlabeled.backbones.interop import IMAGENET, LoadReport, adopt, load_weights
from unlabeled.backbones.small import SMALL
from unlabeled.backbones.storage import load, load_config, save

__all__ = [
    "IMAGENET",
    "SMALL",
    "Backbone",
    "LoadReport",
    "adopt",
    "calibrate_batchnorm",
    "check_name",
    "create",
    "layer_names",
    "load",
    "load_config",
    "load_weights",
    "save",
]
