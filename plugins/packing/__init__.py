"""Every conversation once an epoch, in an order that neither resuming nor more ranks change."""

from plugins.packing.plugin import PackingPlugin

__all__ = ["PackingPlugin"]
