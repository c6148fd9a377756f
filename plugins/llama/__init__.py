"""Llama, Mistral, Qwen2, Qwen3 and what has their blocks (Falcon3, SmolLM2), for Axolotl: fused."""

from __future__ import annotations

from typing import Any

__all__ = ["LlamaPlugin"]


def __getattr__(name: str) -> Any:
    """Import the plugin, and with it Axolotl, only when it is asked for."""
    if name == "LlamaPlugin":
        from plugins.llama.plugin import LlamaPlugin

        return LlamaPlugin
    raise AttributeError(name)
