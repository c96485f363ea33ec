#!/usr/bin/env bash
# flash-linear-attention 0.6.0 (fla-core, torch 2.15.0): the gated delta rule's reference in chunks takes the decay from one step to another as the difference of
# two cumulated logarithms, in single precision, whatever the inputs are. One step that forgets all makes both large, and their difference loses its digits for
# the rest of the chunk, where the reference step by step stays exact.
# Seen: beside the steps, chunks of 64 are off by less than 1e-6 of the outputs where all log decays are -0.1; by more than 1e-4 where one of them is -1e4; and by
# more than 1e-2 where it is -1e6.
# Needs a Python with torch (FINDINGS_PYTHON), or installs one (some GB).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python="${FINDINGS_PYTHON:-}"
if [ -z "$python" ]; then
    python3 -m venv "$work/venv"
    python="$work/venv/bin/python"
    "$python" -m pip install --quiet torch==2.15.0 numpy==2.4.6
fi
"$python" -m pip install --quiet --no-deps --target "$work/packages" fla-core==0.6.0 einops==0.8.1

expected='0: True, -10000: True, -1000000: True'
seen=$(PYTHONPATH="$work/packages" "$python" - "$work/packages" <<'PYTHON'
import importlib.util
import sys

import torch

# The file alone: the package asks for a GPU's compiler.
path = sys.argv[1] + "/fla/ops/gated_delta_rule/naive.py"
spec = importlib.util.spec_from_file_location("naive", path)
naive = importlib.util.module_from_spec(spec)
spec.loader.exec_module(naive)

torch.manual_seed(0)
shape = (1, 64, 1)
q, v = torch.randn(*shape, 16), torch.randn(*shape, 16)
k = torch.nn.functional.normalize(torch.randn(*shape, 16), dim=-1)
beta = torch.full(shape, 0.5)


def off(hard):
    g = torch.full(shape, -0.1)
    g[:, 8] += hard
    steps, _ = naive.naive_recurrent_gated_delta_rule(q, k, v, beta=beta, g=g)
    chunks, _ = naive.naive_chunk_gated_delta_rule(q, k, v, beta=beta, g=g)
    error = ((chunks - steps).norm() / steps.norm()).item()
    print(f"{hard}: {error:e}", file=sys.stderr)
    return error


holds = {0: off(0) < 1e-6, -10000: off(-1e4) > 1e-4, -1000000: off(-1e6) > 1e-2}
print(", ".join(f"{hard}: {is_so}" for hard, is_so in holds.items()))
PYTHON
)
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "this was: $expected" >&2
    exit 1
fi
