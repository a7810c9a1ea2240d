"""Ask the served model of this folder: python example.py URL IMAGE "QUESTION" [MODEL]. Research only.

URL of llama-server (-m *-f16.gguf --mmproj mmproj*): http://127.0.0.1:8080/v1; of Ollama: http://127.0.0.1:11434/v1.
"""

import base64
import io
import json
import sys
import urllib.request
from math import sqrt
from pathlib import Path

from PIL import Image

package = json.loads((Path(__file__).parent / "lowmed.json").read_text(encoding="utf-8"))
image = Image.open(sys.argv[2]).convert("RGB")  # resized as in training: one token covers 28 x 28 pixels
scale = min(1.0, sqrt(package["pixels"]["max_pixels"] / (image.width * image.height)))
size = [max(1, int(side * scale / 28 + (0.5 if scale == 1.0 else 0.0))) * 28 for side in image.size]
png = io.BytesIO()
image.resize((size[0], size[1]), Image.Resampling.BICUBIC).save(png, "PNG")
data_url = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
question = package["prompts"]["infer"]["question_template"].replace("{question}", sys.argv[3])
content = [{"type": "image_url", "image_url": {"url": data_url}}, {"type": "text", "text": question}]
messages = [{"role": "user", "content": content}]
if system := package["prompts"]["infer"]["system"]:
    messages.insert(0, {"role": "system", "content": system})
if prefill := package["prompts"]["infer"]["prefill"]:  # llama-server continues a last message of the assistant
    messages.append({"role": "assistant", "content": prefill})
body = {"messages": messages, "temperature": 0, "max_tokens": package["max_new_tokens"]}
data = json.dumps({"model": sys.argv[4] if len(sys.argv) > 4 else package["run"], **body}).encode()
request = urllib.request.Request(f"{sys.argv[1]}/chat/completions", data, {"Content-Type": "application/json"})  # noqa: S310
print(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])  # noqa: S310
