"""What a run was, is, and came to: run.json, curves.png, and the rules for starting over."""

from plugins.run_record.plugin import RunRecordPlugin

__all__ = ["RunRecordPlugin"]
