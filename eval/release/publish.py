"""`make publish`: adapter, card and record on the Hub, once the run is fit for it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from eval.release.card import FILE as CARD
from eval.release.card import render_card
from eval.release.facts import evaluation_is_of_adapter
from eval.release.redact import local_paths_in, record_for_strangers, without_local_paths
from eval.report.wording import gates_said
from eval.suite import HELD_OUT, suite_names
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import display_path
from recipes.runner.models.hub import describe_base
from recipes.runner.run.finished import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Run
from recipes.runner.run.record import ENDED_WELL

_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


@dataclass(frozen=True)
class Wishes:
    """What the command line asked for.

    Attributes:
        repo: ``user/name`` on the Hub.
        public: whether everybody may see it; private otherwise.
        without_eval: publish a run whose evaluation is missing or left suites out.
    """

    repo: str
    public: bool = False
    without_eval: bool = False


def publish(run: Run, wishes: Wishes) -> str:
    """Push adapter, tokenizer, card, curves and record in one commit; returns the address.

    Raises:
        UserError: the run is not fit for it, there is no token, or the Hub refuses.
    """
    check_fit(run, wishes)
    operations = files_to_publish(run, wishes.repo)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        api.create_repo(wishes.repo, private=not wishes.public, exist_ok=True)
        if not wishes.public and not api.model_info(wishes.repo).private:
            raise UserError("is public already", wishes.repo, "Say so with PUBLIC=1")
        api.create_commit(
            wishes.repo, operations, commit_message=f"Adapter and card of run {run.name}"
        )
    except (HfHubHTTPError, OSError) as error:
        raise UserError(
            f"the Hub refused or can't be reached: {_first_line(error)}",
            wishes.repo,
            "Check the network, the name and that the token may write there",
        ) from None
    return f"{api.endpoint}/{wishes.repo}"


def check_fit(run: Run, wishes: Wishes) -> None:
    """Refuse what should not be published; no network is needed.

    Raises:
        UserError: the first reason found.
    """
    where = display_path(run.path)
    try:
        validate_repo_id(wishes.repo)
        well_formed = wishes.repo.count("/") == 1
    except HFValidationError:
        well_formed = False
    if not well_formed:
        raise UserError(f"{wishes.repo!r} is no repository name", "REPO", "Write REPO=user/name")
    status = run.record.get("status")
    if status not in ENDED_WELL:
        raise UserError(f"the run is not finished ({status})", where, "Train it to its end first")
    run.check_adapter()
    if describe_base(run.base_model).hub_id is None:
        raise UserError(
            f"its base is a local folder ({Path(run.base_model).name}), so nobody else could load"
            " the adapter",
            where,
            "Publish the base, and train with its Hub id as base_model",
        )
    check_evaluation(run, wishes.without_eval)
    if not get_token():
        raise UserError("there is no Hub token", "HF_TOKEN", "Log in with: hf auth login")


def check_evaluation(run: Run, without_eval: bool) -> None:
    """Refuse a run whose gates fail, or about which too little is known.

    Raises:
        UserError: a gate failed or the evaluation is of another adapter; or, unless
            ``without_eval``, it is missing, was cut short or left suites out.
    """
    where = display_path(run.path)
    again = f"Run make eval RUN={run.name}"
    summary = run.summary()
    if summary is None:
        if without_eval:
            return
        raise UserError("was not evaluated", where, f"{again}, or give WITHOUT_EVAL=1")
    decision = summary.get("decision") or {}
    if decision.get("kind") == "don't ship":
        raise UserError(
            f"its evaluation says: {decision['sentence'].rstrip('.')}",
            display_path(run.eval_dir / "report.html"),
            "A model that is worse than its base, or fails a gate, is not published",
        )
    failed = [gate for gate in summary["gates"] if not gate["holds"]]
    if failed:
        names = ", ".join(dict.fromkeys(gate["suite"] for gate in failed))
        raise UserError(
            f"{gates_said(summary['gates'])} ({names})",
            display_path(run.eval_dir / "report.html"),
            "A model that fails its gates is not published",
        )
    if not evaluation_is_of_adapter(run, summary):
        raise UserError("its evaluation is of another adapter", where, again)
    limit = summary["settings"].get("limit")
    asked = {row["name"] for row in summary["suites"]}
    left_out = sorted({*suite_names(), HELD_OUT} - asked)
    if without_eval or (not limit and not left_out):
        return
    what = f"only the first {limit} prompts of each suite" if limit else ""
    what = what or f"all but {', '.join(left_out)}"
    raise UserError(f"was evaluated on {what}", where, f"{again}, or give WITHOUT_EVAL=1")


def files_to_publish(run: Run, repo: str) -> list[CommitOperationAdd]:
    """The files of the commit: weights as they are, texts without this machine's paths.

    Raises:
        UserError: a text would still name one.
    """
    hub_id = describe_base(run.base_model).hub_id
    adapter = json.loads((run.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    adapter["base_model_name_or_path"] = hub_id
    texts = {
        ADAPTER_CONFIG: _json(adapter),
        CARD: without_local_paths(render_card(run, repo)),
        "run.json": _json(record_for_strangers(run.record)),
    }
    binaries = [ADAPTER_WEIGHTS, "curves.png"]
    for name in _TOKENIZER:
        path = run.path / name
        if name == "tokenizer_config.json" and path.is_file():
            texts[name] = _json(record_for_strangers(json.loads(path.read_text("utf-8"))))
        elif path.is_file():
            binaries.append(name)
    for name, text in texts.items():
        left = local_paths_in(text)
        if left:
            raise UserError(f"would name a path of this machine: {left[0]}", name)
    return [
        *(CommitOperationAdd(name, text.encode()) for name, text in texts.items()),
        *(
            CommitOperationAdd(name, str(run.path / name))
            for name in binaries
            if (run.path / name).is_file()
        ),
    ]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
