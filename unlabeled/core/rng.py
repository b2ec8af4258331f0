"""Randomness as a function: every draw follows from a key, never from what was drawn before."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive(*keys: int | str) -> int:
    """Hash ``keys`` (a seed, an epoch, a purpose, …) to an integer in ``[0, 2**63)``."""
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def torch_generator(*keys: int | str) -> torch.Generator:
    """A CPU generator whose whole stream is determined by ``keys``."""
    return torch.Generator().manual_seed(derive(*keys))


def numpy_generator(*keys: int | str) -> np.random.Generator:
    """A numpy generator whose whole stream is determined by ``keys``."""
    return np.random.default_rng(derive(*keys))
