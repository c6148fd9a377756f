"""The `fused:` block of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, Field

from plugins.fused.args import FusedOptions


class LlamaArgs(BaseModel):
    """What the plugin adds to Axolotl's configuration."""

    fused: FusedOptions = Field(default_factory=FusedOptions)
