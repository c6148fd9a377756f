"""What a run was, is, and came to: run.json, curves.png, and the rules for starting over.

The plugin is imported when it is asked for: the launcher reads records too, and shouldn't wait for
Axolotl and torch to do so.
"""

from __future__ import annotations

from typing import Any

__all__ = ["RunRecordPlugin"]


def __getattr__(name: str) -> Any:
    if name != "RunRecordPlugin":
        raise AttributeError(name)
    from plugins.run_record.plugin import RunRecordPlugin

    return RunRecordPlugin
