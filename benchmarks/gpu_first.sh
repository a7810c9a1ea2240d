#!/usr/bin/env bash
# The first ten minutes on a CUDA card without network, the most telling measurements first.
#
#   MODEL=FOLDER benchmarks/gpu_site.sh SITE [unsloth]      before, on a machine with network
#   OUT=FOLDER bash benchmarks/gpu_first.sh SITE            on the card, in a copy of the checkout
#
# OUT gets gpu_first.json, which is rewritten after every step, and gpu_first.log. A step that fails or takes too long
# does not stop the next one. BUDGET_S (560) limits all steps together. Without a card, a tiny form of each step runs.
# Afterwards: copy gpu_first.json into the folder gpu of benchmarks/results, and run `make gpu-tables`.
set -uo pipefail
usage='usage: OUT=FOLDER bash benchmarks/gpu_first.sh SITE'
if [ $# -ne 1 ] || [ -z "${OUT:-}" ]; then echo "$usage"; exit 2; fi
site=$1
budget=${BUDGET_S:-560}
case $budget in '' | *[!0-9]*) echo "BUDGET_S is not a number of seconds: $budget"; exit 2 ;; esac
if [ ! -f "$site/site.tar.gz" ]; then echo "$site has no site.tar.gz; benchmarks/gpu_site.sh builds it"; exit 2; fi
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xzf "$site/site.tar.gz" -C "$work" || { echo "$site/site.tar.gz is damaged"; exit 2; }
set -- "$work"/models/*
if [ ! -f "$1/config.json" ]; then echo "$site has no model; benchmarks/gpu_site.sh builds it"; exit 2; fi
export PYTHONPATH="$work/packages:$here${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export LOWMED_OFFLINE=1 HF_HUB_OFFLINE=1
unset PYTHONDONTWRITEBYTECODE  # a dozen processes import the same packages
mkdir -p "$OUT" "$work/scratch"
"${PYTHON:-python3}" "$here/benchmarks/gpu_first.py" "$1" --out "$OUT" --work "$work/scratch" --budget "$budget" &
driver=$!
trap 'kill -TERM $driver 2> /dev/null' TERM INT
wait $driver; wait $driver
