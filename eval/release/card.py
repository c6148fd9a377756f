"""README.md of a run: its model card in the Hub's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape

from datasets_prep.crisis import HELP_NOTICE
from eval.release import facts
from eval.release.export_proof import LARGEST_RISE, LARGEST_SHARE_LOST
from recipes.runner.core.files import write_text
from recipes.runner.core.recipe import display_path
from recipes.runner.core.terminal import send
from recipes.runner.models.hub import BaseModel, describe_base
from recipes.runner.run.finished import Run, base_bits
from recipes.runner.run.outcome import price
from recipes.runner.run.record import ENDED_WELL, STOPPED_EARLY, read_record

FILE = "README.md"
_TEMPLATES = Path(__file__).parent / "templates"


def renew_card(folder: Path) -> None:
    """Write the card of a run that ended; a card that can't be written never fails the run."""
    record = read_record(folder)
    if record.get("status") not in ENDED_WELL:
        return
    try:
        write_card(Run(folder, record))
    except Exception as error:  # the adapter is what counts, and it is there
        send("warning", text=f"{display_path(folder / FILE)} was not written: {error}")


def write_card(run: Run) -> Path:
    """Write the card into the run's folder, by rename; returns the file."""
    path = run.path / FILE
    write_text(path, render_card(run))
    return path


def render_card(run: Run, repo: str | None = None) -> str:
    """The whole card.

    Args:
        run: a run that ended.
        repo: id of the Hub repository that the card is for; None for the local folder, whose
            snippets then load from local paths.
    """
    base = describe_base(run.base_model)
    data = facts.data_facts(run)
    evaluation = facts.evaluation_facts(run)
    base_source = base.hub_id if repo and base.hub_id else base.name
    source = repo or display_path(run.path)
    record = run.record
    body = _environment().get_template("model_card.md.jinja").render(
        name=run.name,
        title=(repo or run.name).rsplit("/", 1)[-1],
        recipe=record.get("recipe"),
        stopped=f"{record.get('steps')} of {record.get('steps_planned')} steps"
        if record.get("status") == STOPPED_EARLY
        else "",
        base=base,
        base_link=_link(base, bool(repo)),
        help_notice=HELP_NOTICE.splitlines(),
        snippet=snippet(base_source, source),
        snippet_note=_snippet_note(run),
        evaluation=evaluation,
        data=data,
        against=facts.against_facts(run),
        losses=facts.loss_rows(run),
        price=price(run.record),
        goes_on=bool(run.config.get("lora_model_dir")),
        exports=[] if repo else facts.export_rows(run),  # they are not pushed
        largest_rise=LARGEST_RISE,
        largest_share_lost=f"{LARGEST_SHARE_LOST:.0%}",
        settings=facts.setting_rows(run),
        command=facts.command_of(run),
    )  # fmt: skip
    card = ModelCard(f"---\n{_metadata(run, base, data, evaluation).to_yaml()}\n---\n\n{body}")
    return str(card)


def snippet(base: str, adapter: str) -> str:
    """Five lines that load base, adapter and tokenizer with PEFT."""
    return "\n".join(
        [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            f'tokenizer = AutoTokenizer.from_pretrained("{adapter}")',
            f'model = AutoModelForCausalLM.from_pretrained("{base}", dtype="auto")',
            f'model = PeftModel.from_pretrained(model, "{adapter}")',
        ]
    )


def _snippet_note(run: Run) -> str:
    bits = base_bits(run.config)
    if bits == 16:
        return "The base is loaded as it was in training: not quantised."
    return (
        f"The adapter was trained over the base in {bits} bits; this loads the base"
        f" in 16, and answers differ a little. `make merge RUN={run.name}` gives one model with the"
        f" {bits}-bit values that it was trained over, and measures the distance."
    )


def _link(base: BaseModel, on_hub: bool) -> str:
    if base.hub_id:
        return f"[{base.hub_id}](https://huggingface.co/{base.hub_id})"
    return "a base that is not on the Hub" if on_hub else f"`{base.name}`"


def _metadata(
    run: Run, base: BaseModel, data: facts.DataFacts, evaluation: dict[str, Any] | None
) -> ModelCardData:
    rows = evaluation["rows"] if evaluation else []
    return ModelCardData(
        base_model=base.hub_id,
        library_name="peft",
        license=base.licence,
        model_name=run.name,
        pipeline_tag="text-generation",
        tags=["axolotl", "lora", *(["qlora"] if run.config.get("load_in_4bit") else [])],
        eval_results=[
            EvalResult(
                task_type="text-generation",
                dataset_name=row["title"],
                dataset_type=row["name"],
                metric_type=row["metric"],
                metric_value=row["tuned_value"],
                metric_name=f"{row['metric']} (base {row['base']}, difference and 95% interval"
                f" {row['difference']})",
            )
            for row in rows
        ]
        or None,
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; whatever comes from elsewhere goes through `cell`
    )
    environment.filters["cell"] = cell
    return environment


def cell(value: object) -> str:
    """Text on one line that can neither break out of a Markdown table nor be read as HTML."""
    text = str(escape(" ".join(str(value).split())))
    text = text.replace("&#39;", "'").replace("&#34;", '"')  # harmless outside an attribute
    return text.replace("|", "\\|").replace("](", "]\\(")
