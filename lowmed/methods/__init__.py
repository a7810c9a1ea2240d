"""The training methods. A new one is a module here, its class in `AnyMethod`, and a trainer module in the engine."""

from typing import get_args

from lowmed.methods.grpo import GrpoSpec
from lowmed.methods.method import MethodSpec, RewardSpec
from lowmed.methods.sft import SftSpec

AnyMethod = SftSpec | GrpoSpec
METHODS: dict[str, type[MethodSpec]] = {
    get_args(each.model_fields["kind"].annotation)[0]: each for each in get_args(AnyMethod)
}

__all__ = ["METHODS", "AnyMethod", "GrpoSpec", "MethodSpec", "RewardSpec", "SftSpec"]
