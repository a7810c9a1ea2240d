"""Peak memory of a run by phase and term, in bytes. docs/memory.md has the source of each constant."""

from dataclasses import replace

from lowmed.plan import training_memory
from lowmed.plan.vision_memory import encoding, pixels
from lowmed.plan.workload import Terms, Workload
from lowmed.rewards import needs

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes of a weight with double quantization
# The KV cache is read in blocks of this many tokens. GPU attention kernels copy and pad a mask of any other length in
# every layer, and a graph is captured again for every new length.
CACHE_BLOCK_TOKENS = {"transformers": 16, "cuda_graphs": 128}


def phases(workload: Workload) -> dict[str, Terms]:
    """The memory terms of each phase on the device, in the order of a run."""
    base = weights(workload)
    result = {"load": {**base, **_loading(workload)}}
    base |= _gathered(workload)
    trained = {**base, **_adapter(workload)}
    method = workload.recipe.method
    copy = _base_copy(workload)
    held = {**copy, **_kept_for_sampling(workload)}  # by the decoder while the model trains
    if method.completions_per_prompt:
        rows = workload.batch.rows_per_generate
        sampling = _sampling(workload, rows, -(-rows // method.completions_per_prompt), method.max_sampled_tokens)
        # TRL prepares the pixels of every completion. They are grouped by question only afterwards.
        images = {"pixels and features": pixels(workload, method.rows_per_step)}
        result["rollout"] = {**trained, **sampling, **images, **copy}
    reads_more = method.scored_completions_per_row > method.completions_per_row  # else it takes less than the backward
    if method.scoring_passes and (method.completions_per_prompt or reads_more):
        result["scoring forward"] = {**trained, **training_memory.scoring(replace(workload, scoring=True)), **held}
    result["backward"] = {**trained, **training_memory.backward(workload), **held}
    questions = workload.batch.eval_batch_size
    sampling = _sampling(workload, questions, questions, workload.recipe.eval.max_new_tokens)
    result["evaluation"] = {**base, "LoRA": trained["LoRA"], **sampling}
    if workload.recipe.data.dev:  # next to what training keeps in memory
        result["dev evaluation"] = {**trained, **sampling, **held}
    return result


def weights(workload: Workload) -> Terms:
    """Bytes of the base model in a process. The constants of quantization are not divided."""
    model, four_bit = workload.model, workload.recipe.model.load_in == "4bit"
    width = workload.value_bytes
    constants = model.text_linear * (NF4 - 0.5) if four_bit else 0
    language = _divided(workload) / workload.shards + constants
    return {
        "4-bit weights" if four_bit else "16-bit weights": language,
        "vision tower": model.vision * width,
        "embeddings": model.embedding * width,
    }


def _divided(workload: Workload) -> float:
    """Bytes of the decoder layers of all processes that divide them."""
    model, width = workload.model, workload.value_bytes
    return model.text_linear * (0.5 if workload.recipe.model.load_in == "4bit" else width) + model.text_rest * width


def _gathered(workload: Workload) -> Terms:
    """One decoder layer while it computes, twice: FSDP2 gathers into one buffer, and copies each weight out of it.

    Source: `foreach_all_gather` and `foreach_all_gather_copy_out` of torch.distributed.fsdp, and a trace of the
    allocations of a pass (docs/scale.md).
    """
    if workload.shards == 1:
        return {}
    return {"gathered layer": 2 * _divided(workload) / workload.model.layers}


def merge(workload: Workload) -> Terms:
    """Bytes of main memory for merging the adapter: the 16-bit model, and the products of one layer in 32 bits."""
    largest = max(inputs * outputs for inputs, outputs in workload.model.layer_shapes)
    return {"16-bit weights": 2 * workload.model.parameters, "one layer in 32 bits": 3 * 4 * largest}


def _adapter(workload: Workload) -> Terms:
    """The 32-bit adapter, the two moments of AdamW, which stay from the first step on, and copies of the adapter."""
    recipe, count = workload.recipe, workload.model.lora(workload.recipe.lora.rank)
    terms: Terms = {"LoRA": 4 * count, "optimizer": 8 * count}
    if recipe.method.keeps_reference and not (recipe.method.base_is_reference and recipe.lora.start is None):
        terms["reference adapter"] = 4 * count
    if "likelihood" in needs(recipe):
        terms["EMA adapter"] = 4 * count
    return terms


def _loading(workload: Workload) -> Terms:
    """16-bit weights during loading: four layers at a time on a GPU; on a CPU the whole model, in the same memory.

    A model that is divided is loaded in main memory, and moved to the GPU layer by layer.
    """
    if workload.on_cpu:
        return {"16-bit weights being loaded": 2 * workload.model.parameters}
    if workload.shards > 1:
        return {"layer being loaded": _divided(workload) / workload.model.layers}
    return {"16-bit weights being loaded": 4 * 2 * workload.model.hidden * workload.model.intermediate}


def _sampling(workload: Workload, rows: int, prompts: int, new_tokens: int) -> Terms:
    """Prefill of each distinct prompt, then decoding of all rows."""
    model, width, prompt = workload.model, workload.value_bytes, workload.lengths.prompt
    token, cached = _cache_bytes_per_token(workload), _cache_tokens(workload, new_tokens)
    mask = prompts * prompt**2 * (1 + width)
    return {
        # The cache of the prompts, that of all rows, and a copy of one layer while unfinished rows are moved.
        "KV cache": token * (prompts * prompt + rows * cached * (1 + 1 / model.layers)),
        "prefill": prompts * prompt * training_memory.working_bytes_per_token(workload) + mask,
        "logits": rows * model.vocabulary * (width + 5 * 4),
        "LoRA copy": _lora_copy(workload) if workload.shares_prompts else 0,
        "pixels and features": pixels(workload, rows),
        "image encoding": encoding(workload, rows),
    }


def _base_copy(workload: Workload) -> Terms:
    """The 16-bit copy of a 4-bit base for sampling."""
    if not workload.batch.dequantizes_rollouts:
        return {}
    return {"16-bit copy for sampling": workload.model.text_linear * workload.value_bytes}


def _kept_for_sampling(workload: Workload) -> Terms:
    """What the decoder keeps in memory for its graphs."""
    if not workload.batch.keeps_kv_cache:
        return {}
    rows, tokens = workload.batch.rows_per_generate, workload.recipe.method.max_sampled_tokens
    logits = rows * workload.model.vocabulary * workload.value_bytes
    cached = rows * _cache_tokens(workload, tokens) * _cache_bytes_per_token(workload)
    return {"kept KV cache": cached, "kept logits and LoRA copy": logits + _lora_copy(workload)}


def _lora_copy(workload: Workload) -> float:
    """Bytes of the adapter in the precision of the model, as decoding multiplies with it."""
    return workload.value_bytes * workload.model.lora(workload.recipe.lora.rank)


def _cache_tokens(workload: Workload, new_tokens: int) -> int:
    """Capacity of the KV cache of a row, in tokens."""
    block = CACHE_BLOCK_TOKENS["cuda_graphs" if workload.uses_cuda_graphs else "transformers"]
    return -(-(workload.lengths.prompt + new_tokens) // block) * block


def _cache_bytes_per_token(workload: Workload) -> int:
    """Bytes of keys and values of one token in all layers."""
    model = workload.model
    return 2 * model.layers * model.kv_heads * model.head_dim * workload.value_bytes
