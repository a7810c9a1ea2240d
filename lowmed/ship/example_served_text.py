"""Ask the served model of this folder: python example.py URL "QUESTION" [MODEL]. Research only, no diagnostic device.

URL of llama-server (-m *-f16.gguf): http://127.0.0.1:8080/v1; of Ollama: http://127.0.0.1:11434/v1.
"""

import json
import sys
import urllib.request
from pathlib import Path

package = json.loads((Path(__file__).parent / "lowmed.json").read_text(encoding="utf-8"))
question = package["prompts"]["infer"]["question_template"].replace("{question}", sys.argv[2])
messages = [{"role": "user", "content": question}]
if system := package["prompts"]["infer"]["system"]:
    messages.insert(0, {"role": "system", "content": system})
if prefill := package["prompts"]["infer"]["prefill"]:  # llama-server continues a last message of the assistant
    messages.append({"role": "assistant", "content": prefill})
body = {"messages": messages, "temperature": 0, "max_tokens": package["max_new_tokens"]}
data = json.dumps({"model": sys.argv[3] if len(sys.argv) > 3 else package["run"], **body}).encode()
request = urllib.request.Request(f"{sys.argv[1]}/chat/completions", data, {"Content-Type": "application/json"})  # noqa: S310
print(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])  # noqa: S310
