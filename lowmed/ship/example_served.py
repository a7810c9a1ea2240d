"""Ask the model in this folder, once it is served: python example.py ADDRESS IMAGE "QUESTION". Research only.

llama-server -m *-f16.gguf --mmproj mmproj*: http://127.0.0.1:8080/v1; ollama: http://127.0.0.1:11434/v1, and its name.
"""

import base64
import io
import json
import sys
import urllib.request
from math import sqrt
from pathlib import Path

from PIL import Image

about = json.loads((Path(__file__).parent / "lowmed.json").read_text(encoding="utf-8"))
image = Image.open(sys.argv[2]).convert("RGB")
scale = min(1.0, sqrt(about["pixels"]["max_pixels"] / (image.width * image.height)))
size = [max(1, int(side * scale / 28 + (0.5 if scale == 1.0 else 0.0))) * 28 for side in image.size]
picture = io.BytesIO()
image.resize((size[0], size[1]), Image.Resampling.BICUBIC).save(picture, "PNG")
address = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
question = about["prompts"]["infer"]["ask_with"].replace("{question}", sys.argv[3])
content = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": question}]
body = {"model": sys.argv[4] if len(sys.argv) > 4 else about["run"], "messages": [{"role": "user", "content": content}]}
sent = json.dumps({**body, "temperature": 0, "max_tokens": about["max_new_tokens"]}).encode()
asked = urllib.request.Request(f"{sys.argv[1]}/chat/completions", sent, {"Content-Type": "application/json"})  # noqa: S310
print(json.load(urllib.request.urlopen(asked))["choices"][0]["message"]["content"])  # noqa: S310
