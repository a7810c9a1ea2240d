"""Answer questions with transformers and PEFT alone. Run as a script: python peft_only.py JOB.json.

It imports nothing of lowmed, so that its completions are those of any other program.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from PIL import Image
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    BitsAndBytesConfig,
)


def answer_with_peft(job: dict[str, Any]) -> list[list[int]]:
    """The token ids of the greedy completions to one batch of questions; `job` is what `completions.py` writes."""
    dtype = getattr(torch, job["dtype"])
    options: dict[str, Any] = {}
    if job["four_bit"]:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=job["keep_16bit"],
        )
    auto = AutoModelForCausalLM if job["text_only"] else AutoModelForImageTextToText
    base = auto.from_pretrained(
        job["base"],
        dtype=dtype,
        device_map={"": job["device"]},
        attn_implementation="sdpa",
        trust_remote_code=False,
        **options,
    )
    for module in base.modules():
        # On some CPUs bitsandbytes would repack the 4-bit weights. lowmed does not, and the results must be the same.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    model = PeftModel.from_pretrained(base, job["adapter"]).eval()
    inputs = _inputs(job).to(model.device)
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=job["max_new_tokens"],
            suppress_tokens=job["suppressed"],
        )
    completions: list[list[int]] = output[:, inputs["input_ids"].shape[1] :].tolist()
    return completions


def _inputs(job: dict[str, Any]) -> Any:
    """The questions as tensors, padded on the left."""
    if job["text_only"]:
        tokenizer = AutoTokenizer.from_pretrained(job["base"], padding_side="left", trust_remote_code=False)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        return tokenizer(job["texts"], add_special_tokens=False, padding=True, return_tensors="pt")
    processor = AutoProcessor.from_pretrained(job["base"], padding_side="left", trust_remote_code=False)
    if job["size"]:
        processor.image_processor.size = job["size"]
    for name, value in job["image_settings"].items():
        setattr(processor.image_processor, name, value)
    images: list[Any] = [[Image.open(path) for path in paths] for paths in job["images"]]
    if not job["image_settings"]:
        images = [image for some in images for image in some]
    return processor(
        text=job["texts"],
        images=images if any(job["images"]) else None,
        add_special_tokens=False,  # the chat template has written them
        padding=True,
        return_tensors="pt",
    )


if __name__ == "__main__":
    print(json.dumps(answer_with_peft(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
