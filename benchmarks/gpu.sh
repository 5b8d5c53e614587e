#!/usr/bin/env bash
# Tests and measures everything that needs a GPU, on one, in less than ten minutes:
#
#     bash benchmarks/gpu.sh [folder]        # tables for docs/performance.md, in <folder>/gpu.txt; default outputs/gpu
#
# It installs into a new venv in the folder. PyTorch is the machine's own, or the one that pip finds.
# BENCHMARK_DEVICE=cpu tries the script itself, on a machine without a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-outputs/gpu}
device=${BENCHMARK_DEVICE:-cuda}
accelerator=gpu && [ "$device" = cpu ] && accelerator=cpu
mkdir -p "$out"
out=$(realpath "$out")
exec > >(tee "$out/gpu.txt") 2>&1

python3 -m venv --system-site-packages "$out/venv"
python=$out/venv/bin/python
"$python" -m pip install -q -e '.[test]' peft
"$python" - <<'PYTHON'
import torch

names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
print("torch", torch.__version__, "on", ", ".join(names) or "the CPU alone")
PYTHON

section() { printf '\n## %s (%s s)\n\n' "$1" "$SECONDS"; }

section "Tests"
timeout 180 "$python" -m pytest -q tests/test_accelerators.py tests/training/test_micro_batch.py

section "A training step"
steps=("$python" benchmarks/train_step.py --device "$device" --batch 8 --base-dropout 0)
"${steps[@]}" --dtype float32 bf16 --runs 20 --json "$out/steps.json"
"${steps[@]}" --dtype bf16 --runs 20 --json "$out/compiled.json" \
  --contenders stickgen stickgen_compiled full_torch full_torch_compiled peft_torch peft_torch_compiled

section "Generating"
"$python" benchmarks/generate.py --device "$device" --batch 1 8 --runs 5 --uncached-frames 50 --json "$out/generate.json"

section "A run, in one process and in two"
for devices in 1 2; do
  if [ "$devices" = 2 ] && [ "$device" = cuda ] && ! "$python" -c 'import sys, torch; sys.exit(torch.cuda.device_count() < 2)'; then
    accelerator=cpu  # two processes cannot share a GPU
  fi
  run=$out/run-$devices
  rm -rf "$run"
  started=$SECONDS
  "$python" train.py experiment=quickstart trainer=ddp trainer.devices="$devices" trainer.accelerator=$accelerator \
    callbacks.progress_bar=false hydra.run.dir="$run" > "$run.log" 2>&1 || { cat "$run.log"; exit 1; }
  echo "$devices × $accelerator: $((SECONDS - started)) s"
  grep -E 'results|frozen base|adapter' "$run.log"
done
section "Done"
