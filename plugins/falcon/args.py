"""The `falcon:` block of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, Field

from plugins.fused.args import FusedOptions


class FalconArgs(BaseModel):
    """What the plugin adds to Axolotl's configuration."""

    falcon: FusedOptions = Field(default_factory=FusedOptions)
