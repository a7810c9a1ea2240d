"""The training methods.

To add a method, write a module here, add its class to `AnyMethod`, and write a trainer module in `lowmed.engine`.
"""

from typing import get_args

from lowmed.methods.dpo import DpoSpec
from lowmed.methods.grpo import GrpoSpec
from lowmed.methods.kto import KtoSpec
from lowmed.methods.method import MethodSpec, RewardSpec
from lowmed.methods.sft import SftSpec

AnyMethod = SftSpec | GrpoSpec | DpoSpec | KtoSpec
METHODS: dict[str, type[MethodSpec]] = {
    get_args(spec.model_fields["kind"].annotation)[0]: spec for spec in get_args(AnyMethod)
}

__all__ = ["METHODS", "AnyMethod", "DpoSpec", "GrpoSpec", "KtoSpec", "MethodSpec", "RewardSpec", "SftSpec"]
