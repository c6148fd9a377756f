"""Nothing is sent about a run, however it was started."""

from __future__ import annotations


def switch_off_telemetry() -> None:
    """Stop Axolotl's reports before its first: `make` sets a variable for that, `axolotl` doesn't.

    Offline they do harm too: at its end a process waits for minutes to deliver them.
    """
    from axolotl.telemetry.manager import TelemetryManager

    TelemetryManager.get_instance().enabled = False
