"""The model of a recipe: base and adapter."""

from typing import Annotated, Literal

from pydantic import Field

from lowmed.schema import Positive, Section


class ModelSpec(Section):
    """The base model and how it is loaded."""

    name: str = Field("Qwen/Qwen2-VL-2B-Instruct", description="hub id, a local folder, or `nano`")
    revision: str | None = Field(None, description="commit, tag or branch of the hub id")
    weights: Literal["pretrained", "random"] = Field(
        "pretrained", description="`random` needs only a config folder: the true architecture, to rehearse"
    )
    backend: Literal["auto", "transformers", "unsloth"] = Field("auto", description="who loads and runs the model")
    load_in: Literal["4bit", "16bit"] = Field(
        "4bit", description="`4bit`: NF4 for the language layers; vision tower, embeddings and lm_head stay 16-bit"
    )
    max_image_tokens: Annotated[int, Field(ge=4, le=16384)] = Field(
        256, description="a token is 28 x 28 pixels; larger images are shrunk to this budget, everywhere"
    )
    rollout: Literal["auto", "transformers", "compiled", "vllm"] = Field(
        "auto",
        description="how GRPO samples; `compiled` needs a 16-bit base; vllm is refused where it is known to be wrong",
    )
    learning_rate_scale: Annotated[float, Field(gt=0)] = Field(
        1.0, description="multiplies the method's learning rate: a much narrower model takes larger steps"
    )


class LoraSpec(Section):
    """The adapter: on the language model's linear layers, so that any server can serve it."""

    rank: Positive = Field(8, description="width of the two thin matrices beside each layer")
    alpha: Positive = Field(16, description="the adapter counts alpha / rank times")
    start: str | None = Field(None, description="run or adapter folder to go on from, e.g. GRPO after SFT")
