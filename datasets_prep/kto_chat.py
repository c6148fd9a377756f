"""KTO rows under the recipe's own chat template, which Axolotl 0.19 has for DPO and not for KTO.

Its ways for KTO spell ChatML and Llama 3 out; a model with another template would be taught theirs.
`provide` puts this module where Axolotl looks for ``chat_template.default`` under ``rl: kto``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from recipes.runner.core.errors import UserError

_NAME = "axolotl.prompt_strategies.kto.chat_template"


def default(
    cfg: Any, dataset_idx: int = 0, **kwargs: Any
) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """The transform of rows with all turns in ``completion``, the last of them the answer.

    Args:
        cfg: the recipe; its chat template counts.
        dataset_idx: which entry of its ``datasets``.
        kwargs: what other strategies of Axolotl's take.
    """
    from axolotl.utils.chat_templates import extract_chat_template_args, get_chat_template

    choice, jinja = extract_chat_template_args(cfg=cfg, ds_cfg=cfg["datasets"][dataset_idx])

    def transform(sample: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
        template = get_chat_template(choice, jinja_template=jinja, tokenizer=tokenizer)
        turns = [{"role": t["role"], "content": t["content"]} for t in sample["completion"]]

        def text(messages: list[dict[str, str]], asks: bool) -> str:
            return str(
                tokenizer.apply_chat_template(
                    messages, chat_template=template, tokenize=False, add_generation_prompt=asks
                )
            )

        prompt, whole = text(turns[:-1], True), text(turns, False)
        if not whole.startswith(prompt):
            raise UserError(
                "writes a prompt otherwise once it is answered",
                "the recipe's chat_template",
                "Set another chat_template",
            )
        sample["prompt"], sample["completion"] = prompt, whole[len(prompt) :].rstrip()
        return sample

    return transform


def provide() -> None:
    """Let Axolotl find `default`; does nothing where Axolotl has such a way of its own."""
    if _NAME not in sys.modules and importlib.util.find_spec(_NAME) is None:
        sys.modules[_NAME] = sys.modules[__name__]
