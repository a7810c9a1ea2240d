"""Ask the adapter in this folder: python example.py IMAGE "QUESTION" [BASE]. Research only, not a diagnostic device."""

import json
import sys
from pathlib import Path

from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

folder = Path(__file__).parent
package = json.loads((folder / "lowmed.json").read_text(encoding="utf-8"))
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
base = sys.argv[3] if len(sys.argv) > 3 else package["base"]
model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto", device_map="auto", trust_remote_code=False)
model = PeftModel.from_pretrained(model, folder)
question = package["prompts"]["infer"]["question_template"].replace("{question}", sys.argv[2])
content = [{"type": "image"}, {"type": "text", "text": question}]
messages = [{"role": "user", "content": content}]
if system := package["prompts"]["infer"]["system"]:
    messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
text = processor.apply_chat_template(messages, add_generation_prompt=True)
text += package["prompts"]["infer"]["prefill"]  # the model continues it
inputs = processor(text=[text], images=[Image.open(sys.argv[1]).convert("RGB")], return_tensors="pt").to(model.device)
output = model.generate(**inputs, max_new_tokens=package["max_new_tokens"], do_sample=False)
print(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
