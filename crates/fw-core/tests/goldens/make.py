"""Makes slstm*.safetensors: an sLSTM in float64, by the step of the package xlstm.

    pip install torch safetensors numpy xlstm==2.0.6
    python make.py

The other files of this folder were made elsewhere; names are as there: `in.*` inputs, `probe.*` fixed cotangents of each output, `out.*` outputs,
`out.loss [1]` the sum of probe times output over all outputs, `grad.*` its gradient for every input.

`gates [B, T, 4 D]` is what the input gives to i, f, z, o; `w_hidden [H, D/H, 4 D/H]`; `hidden [B, D]` and `carried [B, 3 D]` (c, n, m) the state. Where the
start is zeros, xlstm takes m = i in the first step.
"""

import importlib.util
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent


def step_of_xlstm():
    """The function alone: importing the package builds its CUDA kernels."""
    root = Path(importlib.util.find_spec("xlstm").origin).parent
    path = root / "blocks/slstm/src/vanilla/slstm.py"
    spec = importlib.util.spec_from_file_location("slstm", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.slstm_forward_pointwise


def make(name, batch_size, steps, n_heads, d_head, is_zero):
    step = step_of_xlstm()
    generator = torch.Generator().manual_seed(7)
    numbers = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    d_hidden = n_heads * d_head
    carried = numbers(batch_size, 3 * d_hidden)
    # n is a sum of weights.
    carried[:, d_hidden:2 * d_hidden] = carried[:, d_hidden:2 * d_hidden].abs() + 0.1
    inputs = {
        "gates": 2 * numbers(batch_size, steps, 4 * d_hidden),
        "w_hidden": numbers(n_heads, d_head, 4 * d_head),
        "hidden": numbers(batch_size, d_hidden),
        "carried": carried,
    }
    if is_zero:
        inputs |= {key: torch.zeros_like(inputs[key]) for key in ("hidden", "carried")}
    leaves = {key: value.requires_grad_() for key, value in inputs.items()}

    weight = leaves["w_hidden"].view(n_heads, d_head, 4, d_head)
    c, n, m = leaves["carried"].chunk(3, dim=1)
    states, hidden = torch.stack([leaves["hidden"], c, n, m]), []
    for t in range(steps):
        heads = states[0].view(batch_size, n_heads, d_head)
        recurrent = torch.einsum("bhr,hrgc->bghc", heads, weight).reshape(batch_size, 4 * d_hidden)
        bias = torch.zeros(1, 4 * d_hidden, dtype=torch.float64)
        states, _ = step(leaves["gates"][:, t], recurrent, bias, states, {})
        hidden.append(states[0])
    outputs = {"hidden": torch.stack(hidden, 1), "carried": torch.cat(list(states[1:]), 1)}
    probes = {key: numbers(*value.shape) for key, value in outputs.items()}
    loss = sum((probes[key] * value).sum() for key, value in outputs.items())
    wanted = {key: leaf for key, leaf in leaves.items() if not (is_zero and key in ("hidden", "carried"))}
    gradients = torch.autograd.grad(loss, list(wanted.values()))

    file = {f"in.{key}": value.detach() for key, value in leaves.items()}
    file |= {f"probe.{key}": value for key, value in probes.items()}
    file |= {f"out.{key}": value.detach() for key, value in outputs.items()}
    file |= {"out.loss": loss.detach().reshape(1)}
    file |= {f"grad.{key}": value for key, value in zip(wanted, gradients)}
    assert all(value.isfinite().all() for value in file.values())
    metadata = {"batch": str(batch_size), "steps": str(steps), "heads": str(n_heads), "zero": str(is_zero)}
    save_file({key: value.contiguous() for key, value in file.items()}, HERE / f"{name}.safetensors", metadata)


make("slstm", 3, 7, 2, 3, False)
make("slstm_zero", 2, 5, 1, 4, True)
