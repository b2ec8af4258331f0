"""The base of every typed setting: frozen, strict about names and types, JSON-schema-able."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen, strict pydantic model: an unknown key is an error, ``"3"`` is not an integer."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
