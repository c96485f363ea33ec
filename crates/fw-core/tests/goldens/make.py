"""Makes slstm*.safetensors, an sLSTM in float64 by the step of the package xlstm, and recurrent_delta.safetensors, from the equations of Irie et al. 2021.

    pip install torch safetensors numpy xlstm==2.0.6
    python make.py

The other files of this folder were made elsewhere; names are as there: `in.*` inputs, `probe.*` fixed cotangents of each output, `out.*` outputs,
`out.loss [1]` the sum of probe times output over all outputs, `grad.*` its gradient for every input.

`gates [B, T, 4 D]` is what the input gives to i, f, z, o; `w_hidden [H, D/H, 4 D/H]`; `hidden [B, D]` and `carried [B, 3 D]` (c, n, m) the state. Where the
start is zeros, xlstm takes m = i in the first step. Of the recurrent delta rule `given [B, T, H, 3 D + 1]` is what the input gives to q, k, v, b, `recurrent [H, D, 3 D + 1]`,
`state [B, H, D, D]` the memory, keys by values, and `output [B, H, D]` the last output.
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
    wanted = [key for key in leaves if not (is_zero and key in ("hidden", "carried"))]
    metadata = {"batch": str(batch_size), "steps": str(steps), "heads": str(n_heads), "zero": str(is_zero)}
    write(name, leaves, outputs, numbers, metadata, wanted)


def write(name, leaves, outputs, numbers, metadata, wanted=None):
    probes = {key: numbers(*value.shape) for key, value in outputs.items()}
    loss = sum((probes[key] * value).sum() for key, value in outputs.items())
    wanted = wanted or list(leaves)
    gradients = torch.autograd.grad(loss, [leaves[key] for key in wanted])
    file = {f"in.{key}": value.detach() for key, value in leaves.items()}
    file |= {f"probe.{key}": value for key, value in probes.items()}
    file |= {f"out.{key}": value.detach() for key, value in outputs.items()}
    file |= {"out.loss": loss.detach().reshape(1)}
    file |= {f"grad.{key}": value for key, value in zip(wanted, gradients)}
    assert all(value.isfinite().all() for value in file.values())
    path = HERE / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in file.items()}, path, metadata)
    path.chmod(0o644)


def make_recurrent_delta(name, batch_size, steps, n_heads, d_head):
    generator = torch.Generator().manual_seed(8)
    numbers = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    inputs = {
        "given": numbers(batch_size, steps, n_heads, 3 * d_head + 1),
        "recurrent": numbers(n_heads, d_head, 3 * d_head + 1),
        "state": numbers(batch_size, n_heads, d_head, d_head),
        "output": numbers(batch_size, n_heads, d_head),
    }
    leaves = {key: value.requires_grad_() for key, value in inputs.items()}
    memory, output, outputs = leaves["state"], leaves["output"], []
    for t in range(steps):
        all_of_head = leaves["given"][:, t] + torch.einsum("bhd,hde->bhe", output.tanh(), leaves["recurrent"])
        q, k, v, b = all_of_head.split([d_head] * 3 + [1], dim=-1)
        q, k, beta = q.softmax(-1), k.softmax(-1), b.sigmoid()
        error = v - torch.einsum("bhkv,bhk->bhv", memory, k)
        memory = memory + torch.einsum("bhk,bhv->bhkv", k, beta * error)
        output = torch.einsum("bhkv,bhk->bhv", memory, q)
        outputs.append(output)
    write(name, leaves, {"o": torch.stack(outputs, 1), "state": memory}, numbers, {"heads": str(n_heads)})


make("slstm", 3, 7, 2, 3, False)
make("slstm_zero", 2, 5, 1, 4, True)
make_recurrent_delta("recurrent_delta", 2, 7, 2, 3)
