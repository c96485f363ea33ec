#!/usr/bin/env bash
# xlstm 2.0.6 (torch 2.15.0): in the sLSTM layer the map that is called `fgate` makes the input gates, and `igate` the forget gates. The layer hands what its four maps
# yield to its cell in the order fgate, igate, zgate, ogate, and the cell takes them as i, f, z, o. Whoever reads such weights by their names, or sets a bias by name,
# gets the two gates exchanged. The layer of the mLSTM has the names that it uses.
# Seen: the first of the four blocks that the cell is given is what `fgate` yields, and the second what `igate` yields. With a large weight of `fgate` at the third of four
# steps alone the output there is what that step writes, and steps before it count for nothing: the gate lets in.
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
"$python" -m pip install --quiet --no-deps --target "$work/packages" xlstm==2.0.6 mlstm_kernels==2.0.6 einops==0.8.1 packaging==25.0 ninja==1.13.0

expected='first is fgate: True, second is igate: True, lets in: True'
seen=$(PYTHONPATH="$work/packages" "$python" - <<'PYTHON'
import torch
from xlstm.blocks.slstm.layer import sLSTMLayer, sLSTMLayerConfig

torch.manual_seed(0)
config = sLSTMLayerConfig(embedding_dim=4, num_heads=1, conv1d_kernel_size=0, backend="vanilla", dtype="float32",
                          enable_automatic_mixed_precision=False)
layer = sLSTMLayer(config)
layer.reset_parameters()
given, yielded = [], []
layer.slstm_cell.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
layer.slstm_cell.register_forward_hook(lambda _, __, outputs: yielded.append(outputs[0]))

x = torch.randn(1, 4, 4)
with torch.no_grad():
    layer(x)
    first, second, *_ = given[0].chunk(4, dim=-1)
    is_fgate, is_igate = torch.equal(first, layer.fgate(x)), torch.equal(second, layer.igate(x))

    # One channel says "now": at the third step fgate yields 60 for every unit, elsewhere 0. The other gates do not see it.
    x[..., 3] = torch.tensor([0.0, 0.0, 1.0, 0.0])
    for gate in (layer.fgate, layer.igate, layer.zgate, layer.ogate):
        gate.weight[..., 3] = 0
    layer.fgate.weight.zero_()
    layer.fgate.weight[..., 3] = 60
    layer(x)
    hidden = yielded[-1].reshape(4, 4)
    written = layer.ogate(x)[0].sigmoid() * layer.zgate(x)[0].tanh()
    lets_in = torch.allclose(hidden[2], written[2], atol=1e-5)
print(f"first is fgate: {is_fgate}, second is igate: {is_igate}, lets in: {lets_in}")
PYTHON
)
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "this was: $expected" >&2
    exit 1
fi
