"""Ask the model in this folder: python example.py IMAGE "QUESTION". Research, not a diagnostic device."""

import json
import sys
from pathlib import Path

from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

here = Path(__file__).parent
about = json.loads((here / "lowmed.json").read_text(encoding="utf-8"))
processor = AutoProcessor.from_pretrained(here)
model = AutoModelForImageTextToText.from_pretrained(here, dtype="auto", device_map="auto")
question = about["prompts"]["infer"]["ask_with"].replace("{question}", sys.argv[2])
content = [{"type": "image"}, {"type": "text", "text": question}]
text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
inputs = processor(text=[text], images=[Image.open(sys.argv[1]).convert("RGB")], return_tensors="pt").to(model.device)
output = model.generate(**inputs, max_new_tokens=about["max_new_tokens"], do_sample=False)
print(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
