"""Settings of the steps: what a definition may say, with the defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Settings(BaseModel):
    """Base of all settings: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=False)


class CleanSettings(Settings):
    """Encodings, control characters, HTML and spacing; ``replace`` comes first."""

    replace: dict[str, str] = Field(default={})
    fix_encoding: bool = True
    normalise: bool | Literal["NFC", "NFKC"] = True
    html: bool = True
    split_glued_sentences: bool | Literal["all"] = True
    whitespace: bool = True
    unwrap: bool = False


class AnonymiseSettings(Settings):
    """Which kinds of personal data are masked, and how names are found."""

    emails: bool = True
    urls: bool = True
    handles: bool = True
    phones: bool = True
    addresses: bool = True
    cards: bool = True
    ssns: bool = True
    ibans: bool = True
    ip_addresses: bool = True
    names: Literal["off", "rules", "spacy"] = "rules"
    phone_regions: list[str] = ["US", "GB"]
    keep_phones: list[str] = []
    keep_names: list[str] = []
    ner_model: str | None = None


class LanguageSettings(Settings):
    """Language rule of the filter.

    Attributes:
        keep: ISO 639 code of the language that stays.
        others: read for older definitions: every language but ``keep`` goes.
        mixed: what happens to a turn that is partly in another language.
    """

    keep: str = Field(default="en", pattern="^[a-z]{2,3}$")
    others: list[str] | None = None
    mixed: Literal["keep_part", "drop"] = "keep_part"


class FilterSettings(Settings):
    """Rows that are not worth training on."""

    language: LanguageSettings | Literal[False] = LanguageSettings()
    min_answer_words: int = Field(default=1, ge=1)
    min_question_words: int = Field(default=1, ge=1)
    spoiled_exchange: Literal["cut", "drop_row"] = "cut"
    max_words: int | None = Field(default=None, ge=1)
    min_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    promotion: Literal["remove_sentences", "drop", "off"] = "remove_sentences"
    toxicity: bool = True
    signatures: bool = True
    dead_links: bool = True
    crisis_without_help: Literal["keep", "drop"] = "keep"
    promotion_phrases: list[str] = []
    toxic_phrases: list[str] = []


class ContaminationSettings(Settings):
    """Training rows near a prompt that the evaluation asks.

    Attributes:
        suites: names in ``eval/suites``, or paths of YAML files; ``all`` for every suite there.
        ngram: a run of so many words of a prompt that also stands in a row.
        threshold: least Jaccard similarity of a user turn and a prompt.
    """

    suites: list[str] | Literal["all"] = "all"
    ngram: int = Field(default=8, ge=3)
    threshold: float = Field(default=0.5, gt=0, le=1)


class DedupeSettings(Settings):
    """The same answer twice, exactly or nearly.

    Attributes:
        by: ``answer``: one row per answer, whatever the question; ``exchange``: question and answer
            must both be the same; ``auto``: as ``answer``, but short answers, and those of a source
            that gives few answers to many questions (labels), count with their question.
    """

    by: Literal["auto", "answer", "exchange"] = "auto"

    exact: bool = True
    near: bool = True
    threshold: float = Field(default=0.8, gt=0, le=1)
    min_words: int = Field(default=8, ge=1)


class SplitSettings(Settings):
    """Sizes of the held-out splits (a fraction below 1, or a count of rows)."""

    validation: float = Field(default=0.1, ge=0)
    test: float = Field(default=0.1, ge=0)
    seed: int = 42
    stratify: bool = True
    question_threshold: float = Field(default=0.7, gt=0, le=1)

    @field_validator("validation", "test")
    @classmethod
    def _fraction_or_count(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError(f"{value} is neither a fraction below 1 nor a whole count")
        return value

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> SplitSettings:
        if self.validation < 1 and self.test < 1 and self.validation + self.test >= 1:
            raise ValueError("validation and test together leave nothing to train on")
        return self


class ProveSettings(Settings):
    """What happens to rows that are too long, or hold a special token."""

    too_long: Literal["split", "drop", "fail"] = "split"
    special_token: Literal["fail", "drop"] = "fail"
