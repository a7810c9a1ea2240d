"""The model of a recipe: the base model and its adapter."""

from typing import Annotated, Literal

from pydantic import Field

from lowmed.section import Positive, Section, counterpart


class ModelSpec(Section):
    """The base model and how it is loaded."""

    name: str = Field(
        "Qwen/Qwen2-VL-2B-Instruct",
        description="hub id, a local directory, or `nano`",
        json_schema_extra=counterpart("PreTrainedModel.from_pretrained: pretrained_model_name_or_path"),
    )
    revision: str | None = Field(
        None,
        description="commit, tag or branch of the hub id",
        json_schema_extra=counterpart("PreTrainedModel.from_pretrained: revision"),
    )
    weights: Literal["pretrained", "random"] = Field(
        "pretrained",
        description="`random` draws weights for the architecture of a directory with config.json, for dry runs",
    )
    backend: Literal["auto", "transformers", "unsloth"] = Field(
        "auto", description="library that loads and runs the model"
    )
    load_in: Literal["4bit", "16bit"] = Field(
        "4bit",
        description="`4bit`: NF4 for the language layers; vision tower, embeddings and lm_head stay 16-bit",
        json_schema_extra=counterpart("BitsAndBytesConfig: load_in_4bit"),
    )
    max_image_tokens: Annotated[int, Field(ge=4, le=16384)] = Field(
        256,
        description="larger images are downscaled to this many tokens of 28 x 28 pixels, for every model",
        json_schema_extra=counterpart("Qwen2VLImageProcessor: max_pixels / 784"),
    )
    rollout: Literal["auto", "transformers", "cuda_graphs", "vllm", "vllm-server"] = Field(
        "auto",
        description="how completions are sampled; `auto` uses CUDA graphs where possible; `vllm-server` needs "
        "`rollout_url`; `vllm` on the same GPU is rejected, because it is known to be wrong",
        json_schema_extra=counterpart("GRPOConfig: use_vllm"),
    )
    rollout_url: str | None = Field(
        None,
        description="API of the vLLM server that samples with `rollout: vllm-server`, e.g. http://127.0.0.1:8000/v1",
    )
    rollout_dtype: Literal["auto", "same", "16bit"] = Field(
        "auto",
        description="`16bit`: GRPO samples with a 16-bit copy of the weights of a 4-bit base, for 2 bytes a weight; "
        "`auto`: on a GPU with room for it",
    )
    shard: Literal["none", "fsdp"] = Field(
        "none",
        description="`fsdp`: the processes of a run divide the layers of the language model, for a model that does not "
        "fit one GPU; adapter and optimizer stay in each",
        json_schema_extra=counterpart("TrainingArguments: fsdp"),
    )
    learning_rate_scale: Annotated[float, Field(gt=0)] = Field(
        1.0, description="factor on `method.learning_rate`; a much narrower model needs larger steps"
    )


class LoraSpec(Section):
    """The adapter: on all linear layers of the language model, so that any server can load it."""

    rank: Positive = Field(
        8, description="rank of the two low-rank matrices of each layer", json_schema_extra=counterpart("LoraConfig: r")
    )
    alpha: Positive = Field(
        16,
        description="the adapter's output is scaled by alpha / rank",
        json_schema_extra=counterpart("LoraConfig: lora_alpha"),
    )
    start: str | None = Field(
        None,
        description="run or adapter directory to continue from, e.g. GRPO after SFT",
        json_schema_extra=counterpart("PeftModel.from_pretrained: model_id"),
    )
