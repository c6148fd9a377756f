"""An arm that is served elsewhere: a merged model in vLLM, Ollama or a hosted API."""

from __future__ import annotations

from eval.answers import Answer, ArmName, Messages
from eval.generation.decoding import Decoding
from eval.generation.endpoint import ChatEndpoint, parallel
from eval.generation.generate import derived_seed
from recipes.runner.run.fingerprint import digest

KEY_VARIABLE = "EVAL_ENDPOINT_API_KEY"
IN_PARALLEL = 8


class RemoteArm:
    """Answers through an OpenAI-compatible endpoint; its template is the server's own.

    Args:
        name: which arm.
        endpoint: where it is served.
    """

    def __init__(self, name: ArmName, endpoint: ChatEndpoint) -> None:
        self.name = name
        self.context: int | None = None
        self.digest = digest([endpoint.url, endpoint.model])
        self.endpoint = endpoint

    def count_tokens(self, messages: Messages) -> int | None:
        """Not known here."""
        return None

    def answer(self, batch: list[Messages], decoding: Decoding, seed: str) -> list[Answer]:
        """Ask for every conversation; greedy means temperature 0."""
        temperature = 0.0 if decoding.greedy else decoding.temperature
        top_p = 1.0 if decoding.greedy else decoding.top_p

        def ask(row: int) -> Answer:
            reply = self.endpoint.ask(
                batch[row],
                max_tokens=decoding.max_new_tokens,
                temperature=temperature,
                top_p=top_p,
                seed=derived_seed(decoding.seed, f"{seed}/{row}") % 2**31,
            )
            return Answer(reply.text.strip(), reply.stopped, reply.tokens)

        with parallel(IN_PARALLEL) as pool:
            return list(pool.map(ask, range(len(batch))))
