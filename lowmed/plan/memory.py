"""Peak memory of a run, by phase and by term, from sizes alone. docs/memory.md tells where each constant comes from.

Everything is in bytes.
"""

from lowmed.plan import training_memory
from lowmed.plan.vision_memory import encoding, pixels
from lowmed.plan.workload import Terms, Workload
from lowmed.rewards import needs

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes of a weight, double quantisation
# Room for the keys and values of a row comes in steps of so many: attention kernels of a card pad a mask of another
# length anew in every layer, and every other length of a compiled step is compiled anew.
ROOM_TOKENS = {"transformers": 16, "compiled": 256}


def phases(sizes: Workload) -> dict[str, Terms]:
    """The terms of each phase on the device, in the order in which a run meets them."""
    held = weights(sizes)
    tuned = {**held, **_adapter(sizes)}
    result = {"load": {**held, **_loading(sizes)}}
    method = sizes.recipe.method
    if method.completions_per_prompt:
        rows = sizes.batch.rows_per_generate
        answering = _answering(sizes, rows, -(-rows // method.completions_per_prompt), method.max_sampled_tokens)
        # TRL prepares the pixels of all completions before they are put together by question.
        result["rollout"] = {**tuned, **answering, "images": pixels(sizes, method.rows_per_step)}
        if method.scoring_passes:
            result["scoring forward"] = {**tuned, **training_memory.scoring(sizes)}
    result["backward"] = {**tuned, **training_memory.backward(sizes)}
    if method.completions_per_prompt and sizes.recipe.model.rollout == "compiled":  # its room is never given back
        rows = sizes.batch.rows_per_generate
        result["backward"]["KV cache"] = rows * _room(sizes, method.max_sampled_tokens) * _cached_token(sizes)
    questions = sizes.batch.rows_per_answer
    asked = _answering(sizes, questions, questions, sizes.recipe.eval.max_new_tokens)
    result["evaluation"] = {**held, "LoRA": tuned["LoRA"], **asked}
    return result


def weights(sizes: Workload) -> Terms:
    """The base model."""
    model, four_bit = sizes.model, sizes.recipe.model.load_in == "4bit"
    language = model.text_linear * (NF4 if four_bit else sizes.width) + model.text_rest * sizes.width
    return {
        "4-bit weights" if four_bit else "16-bit weights": language,
        "vision tower": model.vision * sizes.width,
        "embeddings": model.embedding * sizes.width,
    }


def merge(sizes: Workload) -> Terms:
    """Merging on the host: the whole base in 16 bits, and one layer's product in 32."""
    largest = max(inputs * outputs for inputs, outputs in sizes.model.layer_shapes)
    return {"16-bit weights": 2 * sizes.model.parameters, "one layer in 32 bits": 3 * 4 * largest}


def _adapter(sizes: Workload) -> Terms:
    """The adapter, which is 32-bit, Adam's two moments, which stay from the first update on, and copies of it."""
    method, count = sizes.recipe.method, sizes.model.lora(sizes.recipe.lora.rank)
    terms: Terms = {"LoRA": 4 * count, "optimizer": 8 * count}
    if method.keeps_reference:
        terms["reference adapter"] = 4 * count
    if "likelihood" in needs(sizes.recipe):
        terms["slow adapter"] = 4 * count
    return terms


def _loading(sizes: Workload) -> Terms:
    """Layers on their way: four at once to a card; on a CPU the whole 16-bit model passes through the same memory."""
    if sizes.on_cpu:
        return {"16-bit weights on the way": 2 * sizes.model.parameters}
    return {"16-bit weights on the way": 4 * 2 * sizes.model.hidden * sizes.model.intermediate}


def _answering(sizes: Workload, rows: int, prompts: int, new_tokens: int) -> Terms:
    """Reading each distinct prompt once, then one token at a time for all rows that go on from them."""
    model, width, prompt = sizes.model, sizes.width, sizes.lengths.prompt
    token, room = _cached_token(sizes), _room(sizes, new_tokens)
    mask = prompts * prompt**2 * (1 + width)
    return {
        # The prompts' own, room for all rows, and a layer of those laid out anew as rows end.
        "KV cache": token * (prompts * prompt + rows * room * (1 + 1 / model.layers)),
        "prefill": prompts * prompt * training_memory.layer_at_work(sizes) + mask,
        "logits": rows * model.vocabulary * (width + 5 * 4),
        "images": pixels(sizes, rows),
        "vision": encoding(sizes, rows),
    }


def _room(sizes: Workload, new_tokens: int) -> int:
    """Tokens that a row has room for."""
    step = ROOM_TOKENS["compiled" if sizes.recipe.model.rollout == "compiled" else "transformers"]
    return -(-(sizes.lengths.prompt + new_tokens) // step) * step


def _cached_token(sizes: Workload) -> int:
    """Keys and values of one token in all layers."""
    model = sizes.model
    return 2 * model.layers * model.kv_heads * model.head_dim * sizes.width
