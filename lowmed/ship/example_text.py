"""Ask the model or adapter in this folder: python example.py "QUESTION" [BASE]. Research only, no diagnostic device."""

import json
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

folder = Path(__file__).parent
package = json.loads((folder / "lowmed.json").read_text(encoding="utf-8"))
is_adapter = package["kind"] == "adapter"
source = (sys.argv[2] if len(sys.argv) > 2 else package["base"]) if is_adapter else folder
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
model = AutoModelForCausalLM.from_pretrained(source, dtype="auto", device_map="auto", trust_remote_code=False)
if is_adapter:
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, folder)
question = package["prompts"]["infer"]["question_template"].replace("{question}", sys.argv[1])
messages = [{"role": "user", "content": question}]
if system := package["prompts"]["infer"]["system"]:
    messages.insert(0, {"role": "system", "content": system})
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
text += package["prompts"]["infer"]["prefill"]  # the model continues it
inputs = tokenizer([text], add_special_tokens=False, return_tensors="pt").to(model.device)
output = model.generate(**inputs, max_new_tokens=package["max_new_tokens"], do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
