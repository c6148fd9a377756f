"""How answers are decoded: the same for both arms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Decoding:
    """Settings of generation.

    Attributes:
        max_new_tokens: limit of one answer, in tokens.
        samples: answers per prompt; 1 is greedy.
        temperature: used when ``samples`` is above 1.
        top_p: nucleus, used when ``samples`` is above 1.
        seed: where every batch's seed is derived from.
        batch_size: conversations generated together.
    """

    max_new_tokens: int
    samples: int = 1
    temperature: float = 0.7
    top_p: float = 0.95
    seed: int = 42
    batch_size: int = 40

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.samples == 1

    def to_json(self) -> dict[str, Any]:
        """A plain dict for a JSON file or a hash."""
        settings = asdict(self)
        if self.greedy:
            del settings["temperature"], settings["top_p"]
        return settings
