"""Chat data: cleaned, anonymised, split without leaks, and proven trainable.

`prepare` is quick to import and quick to call: nothing heavy is loaded until there is work to do.
"""

from datasets_prep.pipeline import prepare

__all__ = ["prepare"]
