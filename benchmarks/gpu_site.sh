#!/usr/bin/env bash
# Builds the folder that benchmarks/gpu_first.sh needs on a GPU machine without network: packages in the versions of
# constraints.txt (Python 3.12, x86-64 Linux, CUDA 13.0), lowmed's metadata, and config, tokenizer and processor files
# of a model, without weights.
#
#   MODEL=FOLDER_OF_QWEN2-VL-2B benchmarks/gpu_site.sh FOLDER [unsloth]
#
# The machine itself must have torch, torchvision, transformers, accelerate, pyarrow, pandas, pillow, scipy, httpx,
# regex, xxhash, typer, rich and pytest. FOLDER gets site.tar.gz, which gpu_first.sh unpacks. The checkout travels with
# the folder: both together must be smaller than LIMIT_MIB (60). PYTHON (default python3) needs pip.
set -euo pipefail
usage='usage: MODEL=FOLDER benchmarks/gpu_site.sh FOLDER [unsloth]'
out=${1:?$usage}
with=${2:-}
[ $# -le 2 ] && { [ -z "$with" ] || [ "$with" = unsloth ]; } || { echo "$usage"; exit 2; }
model=${MODEL:?$usage}
[ -f "$model/config.json" ] || { echo "no config.json in $model"; exit 2; }
if [ -e "$out" ] && [ ! -f "$out/site.tar.gz" ]; then echo "$out exists, and is not a folder of this script"; exit 2; fi
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
limit_mib=${LIMIT_MIB:-60}
names=(trl bitsandbytes datasets dill multiprocess peft pydantic pydantic-core annotated-types typing-inspection
       typing-extensions)
[ "$with" = unsloth ] && names+=(unsloth unsloth-zoo tyro typeguard docstring-parser cut-cross-entropy msgspec
       nest-asyncio structlog hf-transfer)
platforms=()
for n in manylinux2014 manylinux1 manylinux_2_{17,24,27,28,31,34,35}; do platforms+=(--platform "${n}_x86_64"); done
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for name in "${names[@]}"; do grep -m1 "^$name==" "$here/constraints.txt" \
  || { echo "constraints.txt has no version of $name"; exit 1; }; done > "$tmp/pins"
"$python" -m pip download -qq --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
  --abi cp312 --abi abi3 --abi none "${platforms[@]}" --dest "$tmp/wheels" --requirement "$tmp/pins"
site=$tmp/site
mkdir -p "$site/packages"
for wheel in "$tmp"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$site/packages"; done
# Left out: libraries for other versions of CUDA, unsloth's desktop application, tests, data of installers.
find "$site/packages/bitsandbytes" -name 'libbitsandbytes_*' ! -name '*cuda130*' ! -name '*cpu*' -delete
rm -rf "$site"/packages/studio "$site"/packages/*/tests "$site"/packages/*.data
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$here/lowmed/__init__.py")
mkdir "$site/packages/lowmed-$version.dist-info"  # runs record the version of lowmed from its metadata
printf 'Metadata-Version: 2.1\nName: lowmed\nVersion: %s\n' "$version" \
  > "$site/packages/lowmed-$version.dist-info/METADATA"
name=$(basename "$(cd "$model" && pwd)")
mkdir -p "$site/models/$name"
find "$model/" -maxdepth 1 -type f \( -name '*.json' -o -name '*.txt' -o -name '*.jinja' \) ! -name '*.index.json' \
  -exec cp {} "$site/models/$name/" \;
chmod -R u+w "$site"
mkdir -p "$out"
(cd "$site" && tar -czf - packages models) > "$tmp/site.tar.gz"
mv "$tmp/site.tar.gz" "$out/site.tar.gz"
bytes() { wc -c | tr -d ' '; }
packed=$(bytes < "$out/site.tar.gz")
checkout=$(cd "$here" && git ls-files -z --cached --others --exclude-standard | xargs -0 cat 2> /dev/null | bytes || true)
mib() { echo "$1" | awk '{printf "%.1f MiB", $1 / 1048576}'; }
echo "$out: $(mib "$packed"), unpacked $(du -sm "$site" | cut -f1) MiB; the checkout: $(mib "$checkout")"
if [ $((packed + checkout)) -gt $((limit_mib * 1048576)) ]; then
  rm -f "$out/site.tar.gz"
  echo "folder and checkout are larger than $limit_mib MiB together; nothing was kept"
  exit 1
fi
