#!/usr/bin/env bash
# Everything that only a card can show, in pieces of less than ten minutes each, each with its table or report at the
# end and its figures as JSON in OUT.
#
#   benchmarks/gpu_all.sh list                       the pieces
#   benchmarks/gpu_all.sh PIECE OUT [MODEL_FOLDER]   one of them
#   benchmarks/gpu_all.sh all OUT [MODEL_FOLDER]     one after the other; a piece that fails does not stop the rest
#
# MODEL_FOLDER holds at least config.json, tokenizer and processor settings of Qwen2-VL-2B; the weights are drawn at
# random. Without it only the pieces on the embedded model run. Nothing is downloaded. lowmed, its dependencies and
# pytest must be importable by PYTHON (default python3). A machine with torch, torchvision, transformers, accelerate and
# peft but no network needs the rest in a folder that is brought along and named in PYTHONPATH, made elsewhere by
#
#   pip install --no-deps --target FOLDER --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
#     -c constraints.txt trl bitsandbytes datasets dill multiprocess pydantic pydantic-core annotated-types \
#     typing-inspection requests urllib3 charset-normalizer xxhash scipy
#
# (scipy is for `lowmed eval` and `lowmed probe` alone). Copy the JSON files to benchmarks/results/ afterwards and write
# the page with `python benchmarks/update.py --table` and `python benchmarks/parts.py --table`. A piece of cells that was
# cut off goes on where it was.
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
piece=${1:?usage: gpu_all.sh PIECE|all|list OUT [MODEL_FOLDER]}
pieces=(doctor tests agreement dry-run update-64 update-256 update-1024-4 update-1024-8 update-1024-16 unsloth-256
        parts-prefill parts-train parts-tower parts-decode)
if [ "$piece" = list ]; then printf '%s\n' "${pieces[@]}"; exit 0; fi
case " all ${pieces[*]} " in *" $piece "*) ;; *) echo "no such piece: $piece; see gpu_all.sh list"; exit 2 ;; esac
out=${2:?usage: gpu_all.sh PIECE OUT [MODEL_FOLDER]}
model=${3:-}
python=${PYTHON:-python3}
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" LOWMED_OFFLINE=1
mkdir -p "$out"
out=$(cd "$out" && pwd)
name=$([ -n "$model" ] && basename "$model" || true)
if ! "$python" -c 'from importlib.metadata import version; version("lowmed")' 2> /dev/null; then
  # The checkout alone, without an installation: runs record lowmed's version, which is asked of the package's metadata.
  number=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$here/lowmed/__init__.py")
  facts=$(mktemp -d)
  trap 'rm -rf "$facts"' EXIT
  mkdir "$facts/lowmed-$number.dist-info"
  printf 'Metadata-Version: 2.1\nName: lowmed\nVersion: %s\n' "$number" > "$facts/lowmed-$number.dist-info/METADATA"
  export PYTHONPATH="$facts:$PYTHONPATH"
fi
files() { (cd "$here" && grep -rlE 'mark\.gpu' tests); }

update() { # PREFIX [OPTION...]
  local prefix=$1; shift
  timeout 590 "$python" "$here/benchmarks/update.py" --model "$model" --cells "$prefix" --out "$out" "$@"
}

parts() { # PREFIX
  timeout 590 "$python" "$here/benchmarks/parts.py" --model "$model" --cells "$1" --out "$out"
}

dry_run() { # every method at both precisions, three optimizer steps each
  local method=$1 load_in=$2
  timeout 280 "$python" -m lowmed plan --recipe "$method" --dry-run --json \
    "model.name=$model" model.weights=random "model.load_in=$load_in" data.source=phantom data.split_by=official \
    > "$out/dry-run-$method-$load_in.json" && cat "$out/dry-run-$method-$load_in.json"
}

run() {
  case $1 in
    doctor) "$python" -m lowmed doctor ;;
    tests) (cd "$here" && timeout 590 "$python" -m pytest -m gpu -q -s -k "not backends" $(files)) \
             2>&1 | tee "$out/gpu-tests.txt" ;;
    agreement) (cd "$here" && timeout 590 "$python" -m pytest -m gpu -q -s -k backends tests/engine/test_gpu.py) \
             2>&1 | tee "$out/gpu-agreement.txt" ;;
    dry-run) dry_run rarl 4bit && dry_run rarl 16bit && dry_run rarl-sft 4bit ;;
    update-64) update "grpo/$name/64/" && update "sft/$name/64" ;;
    update-256) update "grpo/$name/256/" && update "sft/$name/256" ;;
    update-1024-*) update "grpo/$name/1024/${1##*-}" ;;
    parts-*) parts "${1#parts-}/$name/" ;;
    unsloth-256) update "grpo/$name/256/8" --against unsloth ;;
  esac
}

[ "$piece" = all ] && chosen=("${pieces[@]}") || chosen=("$piece")
failed=()
for each in "${chosen[@]}"; do
  if [ -z "$model" ] && [[ ! " doctor tests agreement " =~ " $each " ]]; then
    echo "== $each: left out, no MODEL_FOLDER"; continue
  fi
  echo "== $each"
  began=$SECONDS
  if run "$each"; then
    echo "== $each: $((SECONDS - began)) s"
  else
    echo "== $each: FAILED after $((SECONDS - began)) s"
    failed+=("$each")
  fi
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
