"""One OpenAI-compatible chat endpoint: a judge, or an arm that is served elsewhere."""

from __future__ import annotations

import email.utils
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from recipes.runner.core.errors import UserError

_LONGEST_WAIT = 60.0  # seconds between two tries
_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Reply:
    """A completion.

    Attributes:
        text: of the first choice.
        stopped: whether the model ended it itself.
        tokens: generated, as the server counts; 0 when it does not say.
    """

    text: str
    stopped: bool
    tokens: int


@contextmanager
def parallel(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; on an error or Ctrl-C, what has not begun never begins."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def seconds_to_wait(retry_after: str) -> float:
    """What a Retry-After header asks for, in seconds or as a date; 0 without one, at most 60."""
    if re.fullmatch(r"\s*\d+(?:\.\d+)?\s*", retry_after):
        return min(_LONGEST_WAIT, float(retry_after))
    try:
        seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0
    return min(_LONGEST_WAIT, max(0.0, seconds))


class ChatEndpoint:
    """Asks one model behind one URL.

    Args:
        url: the API's base, for example ``http://127.0.0.1:8000/v1``.
        model: its name there.
        key_variable: environment variable that holds the API key, if one is needed.
        timeout: seconds for one request.
        tries: requests before giving up on a timeout or an overloaded server.
        wait: seconds before the second try; doubled each time.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key_variable: str,
        timeout: float = 60.0,
        tries: int = 3,
        wait: float = 1.0,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError("is no http(s) address", url, "For example http://127.0.0.1:8000/v1")
        self.url = url.rstrip("/").removesuffix("/chat/completions")
        self.model = model
        self._tries, self._wait = tries, wait
        self._names: dict[str, str] = {}  # settings that this server knows by another name, or not
        key = os.environ.get(key_variable)
        self._client = httpx.Client(
            timeout=timeout, headers={"Authorization": f"Bearer {key}"} if key else {}
        )

    def ask(self, messages: list[dict[str, str]], **settings: Any) -> Reply:
        """One completion.

        Raises:
            UserError: unreachable or timed out after every try, refused, or no chat completion.
        """
        problem, asked_to_wait = "", 0.0
        attempt = 0
        while attempt < self._tries:
            if attempt:
                time.sleep(max(asked_to_wait, self._wait * 2 ** (attempt - 1)))
            attempt += 1
            asked_to_wait = 0.0
            body = {"model": self.model, "messages": messages, **self._accepted(settings)}
            try:
                response = self._client.post(f"{self.url}/chat/completions", json=body)
            except httpx.TimeoutException:
                problem = "timed out"
                continue
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                problem = f"can't be reached: {error}"
                continue
            if response.status_code in _RETRIED:
                problem = f"answered {response.status_code}"
                asked_to_wait = seconds_to_wait(response.headers.get("Retry-After", ""))
                continue
            if response.status_code == 400 and self._learns_from(response.text, body):
                attempt -= 1  # the same question in words that this server takes
                continue
            if response.is_error:
                raise UserError(
                    f"refused with {response.status_code}: {' '.join(response.text.split())[:160]}",
                    self.url,
                    "Check the address, the model's name and the API key",
                )
            return self._read(response)
        raise UserError(f"{problem} ({self._tries} tries)", self.url, "Check that the server runs")

    def _accepted(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings as this server takes them, as far as it has said."""
        renamed = {self._names.get(name, name): value for name, value in settings.items()}
        return {name: value for name, value in renamed.items() if name}

    def _learns_from(self, refusal: str, body: dict[str, Any]) -> bool:
        """Newer models want ``max_completion_tokens``, and refuse some settings of sampling."""
        if "max_completion_tokens" in refusal and "max_tokens" in body:
            self._names["max_tokens"] = "max_completion_tokens"
            return True
        for name in ("temperature", "top_p", "seed"):
            if name in body and re.search(rf"\b{name}\b", refusal):
                self._names[name] = ""  # left out from now on
                return True
        return False

    def _read(self, response: httpx.Response) -> Reply:
        try:
            data = response.json()
            choice = data["choices"][0]
            text = choice["message"]["content"] or ""
            tokens = int((data.get("usage") or {}).get("completion_tokens") or 0)
            return Reply(str(text), choice.get("finish_reason") == "stop", tokens)
        except (ValueError, KeyError, IndexError, TypeError):
            raise UserError(
                f"gave no chat completion but: {' '.join(response.text.split())[:120]!r}",
                self.url,
                "Give the base address of an OpenAI-compatible API",
            ) from None
