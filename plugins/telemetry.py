"""Axolotl's reports to its makers, off for a run that was not started by `make` too."""

from __future__ import annotations


def switch_off_telemetry() -> None:
    """Stop Axolotl's reports from here on: `make` sets a variable for that, `axolotl` doesn't.

    The one that it sends when it reads a configuration goes out before any plugin is there; only
    AXOLOTL_DO_NOT_TRACK=1 stops that. Offline the others do harm too: a process that failed waited
    for minutes at its end to deliver them.
    """
    from axolotl.telemetry.manager import TelemetryManager

    TelemetryManager.get_instance().enabled = False
