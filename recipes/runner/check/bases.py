"""Which base for me: facts of the bases that have a recipe, for recipes/README.md."""

from __future__ import annotations

from dataclasses import dataclass

from recipes.runner.core.recipe import load_recipe
from recipes.runner.estimate.memory import GIB, estimate
from recipes.runner.models.architecture import architecture

TII = "TII (Abu Dhabi)"
FALCON_LICENCE = "Falcon-LLM 2.0: as Apache-2.0, with an acceptable-use policy"


@dataclass(frozen=True)
class Base:
    """What a model card says of a base; memory is estimated from its recipe.

    Attributes:
        card: where the facts stand; empty: its base model's page on the Hub.
        recipe: that trains it.
        licence: its licence.
        languages: that its makers name.
        maintainer: who made it and keeps it.
        released: month and year.
        data_end: year in which its data end; empty where nobody says.
        speed: tokens a second in training, and on what.
    """

    recipe: str
    licence: str
    languages: str
    maintainer: str
    released: str
    data_end: str
    speed: str
    card: str = ""


BASES = (
    Base(
        "smollm2-135m-qlora", "Apache-2.0", "English",
        "Hugging Face", "November 2024", "", "260, measured on two CPU cores",
        "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    Base(
        "falcon-h1-0.5b-lora", FALCON_LICENCE, "English", TII,
        "May 2025", "", "not known: needs kernels that were not tried here",
    ),
    Base(
        "falcon3-1b-lora", FALCON_LICENCE,
        "English, French, Spanish, Portuguese", TII, "December 2024", "",
        "74,000, estimated for an H100",
    ),
    Base(
        "falcon7b-qlora", "Apache-2.0",
        "English, German, Spanish, French", TII, "May 2023", "2023",
        "18,925, measured on an H100",
    ),
    Base(
        "mistral-7b-qlora", "Apache-2.0",
        "English (none is named)", "Mistral AI", "May 2024", "", "18,848, measured on an H200",
    ),
    Base(
        "qwen2.5-7b-qlora", "Apache-2.0",
        "over 29, Chinese, English, Spanish and Arabic among them", "Alibaba", "September 2024", "",
        "17,868, measured on an H200, its blocks alone",
    ),
    Base(
        "falcon3-7b-qlora", FALCON_LICENCE,
        "English, French, Spanish, Portuguese", TII, "December 2024", "",
        "17,000, estimated for an H100",
    ),
    Base(
        "falcon-h1-7b-qlora", FALCON_LICENCE,
        "18, Arabic and Chinese among them", TII, "May 2025", "",
        "not known: needs kernels that were not tried here",
    ),
    Base(
        "falcon2-11b-qlora",
        "Falcon 2.0: as Apache-2.0, with an acceptable-use policy",
        "11 of Europe, English above all", TII, "May 2024", "", "11,000, estimated for an H100",
    ),
)  # fmt: skip

_INTRO = """## Which base for me

- **To learn the way, or without a GPU: SmolLM2-135M.** It makes no chatbot.
- **For a chatbot that goes out: Qwen2.5-7B-Instruct.** Plain Apache-2.0, the most languages, 32K of
  context, the fused path here, and every server takes its adapter as it is. For English alone,
  Mistral-7B-Instruct is as free and a little smaller.
- **Of the Falcons: Falcon3-7B-Instruct.** It is a Llama to every tool. On a small card, Falcon3-1B.
- **Falcon-H1** reads the longest conversations, and pays for it here: no packing, no fused path,
  kernels to compile. Take it for that length or for Arabic, not to begin with.
- **Falcon2-11B** where a European language counts for more than chat: a base without instructions.
- **Falcon-7B** to stand beside what was published in 2023. It saw no chat, ends at 2,048 tokens,
  and knows nothing later than its data.

This goes by licences, sizes and speed, not by answers: nobody here has compared what these bases
say once they are tuned. `make eval` with your own data decides.

| base | licence | context | languages | memory to train | tokens/s | by | released; data end |
|---|---|---:|---|---:|---|---|---|
"""
_OUTRO = """
Licence, languages and dates are those of each model's card, behind its name; context is that of
its config.json. They were checked in November 2026 against copies that others keep of cards, and
where there was none against catalogues of models (Falcon-7B's context was not looked up);
the months of Falcon-7B, Falcon2-11B and Qwen2.5 were found in neither. Falcon-H1's cards say
Falcon-LLM License, without a number. When the data end is published by Falcon-7B's makers alone
(Common Crawl up to its dump of February 2023). Memory is that of the recipe; of Falcon-H1's
state-space layers it is counted by their width, and may be far off. Speeds are those of
plugins/falcon/NOTES.md, or half of an H100's peak where a base was not run; Falcon-H1 was trained
here as a tiny model only, on a CPU. The kept shapes of Falcon2-11B, Falcon3-1B and Falcon-H1 were
put together from cards, papers and other projects' copies of config.json, and agree with the
published numbers of parameters to three digits (Falcon-H1-7B to the last). Falcon-H1-7B's
multipliers were not found; they change no shape, and training, merging and exporting take them from
the base's own config.json, as tests of a tiny Falcon-H1 with every one of them set show. Nor was
its tokenizer: that it ends a turn with `<|im_end|>` was read of Falcon-H1-Tiny's, and `<|pad|>` of
Falcon3's.

## The recipes
"""


def bases_text() -> str:
    """The section of recipes/README.md."""
    return _INTRO + "\n".join(_row(base) for base in BASES) + "\n" + _OUTRO


def _row(base: Base) -> str:
    config = load_recipe(base.recipe).config
    model = str(config["base_model"])
    shape = architecture(model)
    memory = estimate(config, shape).total / GIB
    name = model.removeprefix("models/")
    card = base.card or f"https://huggingface.co/{model}"
    context = f"{shape.positions:,}" if shape.positions else "not said"
    end = base.data_end or "not published"
    return (
        f"| [{name}]({card}) | {base.licence} | {context} | {base.languages} | {memory:.1f} GiB |"
        f" {base.speed} | {base.maintainer} | {base.released}; {end} |"
    )
