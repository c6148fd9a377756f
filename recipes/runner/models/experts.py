"""Experts of a mixture as transformers 5 keeps them: one parameter for what was many layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from recipes.runner.models.architecture import Architecture


@dataclass(frozen=True)
class ExpertNames:
    """What PEFT makes of the names of single experts' layers (`_convert_peft_config_moe`).

    Attributes:
        joined: name of an expert's layer, or of the router, to the parameter that holds it now.
        fused: parameter to the layers that became one in it, of which none can be adapted alone.
    """

    joined: Mapping[str, str] = field(default_factory=dict)
    fused: Mapping[str, Collection[str]] = field(default_factory=dict)


def expert_names(shape: Architecture) -> ExpertNames:
    """The names for a model; none where it has no experts, or PEFT knows no others for them."""
    several = any(
        len(sizes) == 3 and module.kind == "other"
        for module in shape.modules
        for _, sizes in module.parameters
    )
    if not several:
        return ExpertNames()
    from peft.utils import transformers_weight_conversion as conversion

    kind = str(conversion._MODEL_TO_CONVERSION_PATTERN.get(shape.model_type))
    joined = conversion._MOE_TARGET_MODULE_MAPPING.get(kind, {})
    fused = conversion._MOE_FUSED_TARGETS.get(kind, {})
    return ExpertNames(joined, fused) if joined and fused else ExpertNames()
