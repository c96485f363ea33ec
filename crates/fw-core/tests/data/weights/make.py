"""Makes the files of this folder: weights as PyTorch, Keras, ONNX and flash-linear-attention store them, and what each
computes from them. README.md says what they are.

    pip install torch safetensors numpy keras onnx flash-linear-attention==0.6.0 xlstm==2.0.6 mlstm_kernels==2.0.6
    python make.py

Every number comes from a generator whose seed is the CRC of its name, so that a second run writes the same bytes.
NAME.pt (or NAME.safetensors) has the weights, NAME.values.safetensors an input and what comes out, from a zero state,
computed in float64 from the weights as they are stored and rounded to float32 at the end.
"""

import copy
import os
import zlib
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
GOLDENS = HERE.parents[1] / "goldens"
BATCH, STEPS = 2, 6


def numbers(name, *shape, std=1.0):
    """Normal numbers in float64, always the same for a name and a shape."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * std


def given(name, width):
    return numbers(f"{name}/input", BATCH, STEPS, width).float()


def write(name, state):
    torch.save(state, HERE / f"{name}.pt")


def write_tensors(name, tensors):
    path = HERE / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    path.chmod(0o644)


def write_values(name, **values):
    assert all(value.isfinite().all() for value in values.values()), name
    write_tensors(f"{name}.values", {key: value.detach().float() for key, value in values.items()})


def fill(module, name, std=None):
    """Every parameter from a normal distribution of its own; `std` says which are not of 0.5."""
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            spread = (std or {}).get(key, 0.5)
            parameter.copy_(numbers(f"{name}/{key}", *parameter.shape, std=spread))
    return module


def double(module):
    """A copy in float64: `.double()` alone would change the module that is given."""
    return copy.deepcopy(module).double()


def states(kind, hidden):
    """What PyTorch gives beside the output: (hidden, cell) of an LSTM, hidden alone of the others."""
    return dict(zip(["hidden", "cell"], hidden)) if issubclass(kind, (nn.LSTM, nn.LSTMCell)) else {"hidden": hidden}


# nn.LSTM, nn.GRU, nn.RNN

RECURRENT = {
    "lstm": (nn.LSTM, 3, 5, {}),
    "lstm_square": (nn.LSTM, 4, 4, {}),
    "lstm_three_layers": (nn.LSTM, 3, 5, {"num_layers": 3}),
    "lstm_bidirectional": (nn.LSTM, 3, 4, {"num_layers": 2, "bidirectional": True}),
    "lstm_no_bias": (nn.LSTM, 3, 5, {"bias": False}),
    "lstm_proj": (nn.LSTM, 3, 5, {"proj_size": 2}),
    "gru": (nn.GRU, 3, 5, {}),
    "gru_square": (nn.GRU, 4, 4, {}),
    "gru_three_layers": (nn.GRU, 3, 5, {"num_layers": 3}),
    "gru_bidirectional": (nn.GRU, 3, 4, {"num_layers": 2, "bidirectional": True}),
    "gru_no_bias": (nn.GRU, 3, 5, {"bias": False}),
    "rnn_tanh": (nn.RNN, 3, 5, {}),
    "rnn_relu": (nn.RNN, 3, 5, {"nonlinearity": "relu"}),
    "rnn_three_layers": (nn.RNN, 3, 5, {"num_layers": 3}),
    "rnn_bidirectional": (nn.RNN, 3, 4, {"bidirectional": True}),
}


def recurrent(name):
    kind, d_input, d_hidden, options = RECURRENT[name]
    return fill(kind(d_input, d_hidden, batch_first=True, **options), name)


def run_recurrent(module, x):
    with torch.no_grad():
        output, hidden = double(module)(x.double())
    return {"input": x, "output": output, **states(type(module), hidden)}


def make_recurrent():
    for name in RECURRENT:
        module = recurrent(name)
        write(name, module.state_dict())
        if name != "lstm_proj":
            write_values(name, **run_recurrent(module, given(name, module.input_size)))


def make_cells():
    for name, kind in {"lstm_cell": nn.LSTMCell, "gru_cell": nn.GRUCell, "rnn_cell": nn.RNNCell}.items():
        cell = fill(kind(3, 5), name)
        write(name, cell.state_dict())
        x, in_double, hidden, outputs = given(name, 3), double(cell), None, []
        with torch.no_grad():
            for step in x.double().unbind(1):
                hidden = in_double(step, hidden)
                outputs.append(hidden[0] if kind is nn.LSTMCell else hidden)
        write_values(name, input=x, output=torch.stack(outputs, 1), **states(kind, hidden))


# Ways of storing the one LSTM


@contextmanager
def numbered_storages():
    """The old format names a storage by its address, which differs between runs: here by its place in the order of use."""
    address, seen = torch._C.StorageBase._cdata, {}
    number = lambda storage: 94000000000000 + 64 * seen.setdefault(address.__get__(storage), len(seen))
    torch.UntypedStorage._cdata = property(number)
    try:
        yield
    finally:
        del torch.UntypedStorage._cdata


def checkpoint():
    """Such a file as a training loop writes: the model's weights under a prefix, and those of Adam after one step."""
    model = nn.Module()
    model.encoder = nn.Module()
    model.encoder.rnn = recurrent("lstm")
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    output, _ = model.encoder.rnn(given("lstm", 3))
    output.square().mean().backward()
    adam.step()
    fill(model.encoder.rnn, "lstm")
    return {
        "epoch": 3,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": adam.state_dict(),
        "loss": 0.25,
    }


def views():
    """The same tensors, none of which is the whole of its storage, in order: what lies between is other numbers."""
    stored = recurrent("lstm").state_dict()
    w_input, w_hidden = stored["weight_ih_l0"], stored["weight_hh_l0"]
    rows, columns = w_hidden.shape
    larger = numbers("lstm_views/larger", 2 * rows + 1, 3 * columns).float()
    w_hidden_view = larger[1::2, 2::3]
    w_hidden_view.copy_(w_hidden)
    biases = numbers("lstm_views/biases", 2 * rows + 3).float()
    bias_input, bias_hidden = biases[2 : 2 + rows], biases[3 + rows :]
    bias_input.copy_(stored["bias_ih_l0"])
    bias_hidden.copy_(stored["bias_hh_l0"])
    of_views = OrderedDict(
        weight_ih_l0=w_input.t().contiguous().t(),
        weight_hh_l0=w_hidden_view,
        bias_ih_l0=bias_input,
        bias_hh_l0=bias_hidden,
    )
    assert all(torch.equal(of_views[key], stored[key]) for key in stored)
    assert not of_views["weight_ih_l0"].is_contiguous() and not of_views["weight_hh_l0"].is_contiguous()
    assert bias_input.untyped_storage().data_ptr() == bias_hidden.untyped_storage().data_ptr()
    return of_views


def make_ways_of_storing():
    module, x = recurrent("lstm"), given("lstm", 3)
    stored = module.state_dict()
    with numbered_storages():
        torch.save(stored, HERE / "lstm_legacy.pt", _use_new_zipfile_serialization=False)
    write("lstm_checkpoint", checkpoint())
    write("lstm_views", views())
    write("lstm_module", module)
    write_tensors("lstm", stored)
    # Float64 has more digits of the same numbers, so that `lstm` is what it becomes in float32.
    in_double = fill(double(module), "lstm")
    assert all(torch.equal(in_double.state_dict()[key].float(), stored[key]) for key in stored)
    types = {"f64": in_double, "f16": recurrent("lstm").half(), "bf16": recurrent("lstm").bfloat16()}
    for name, typed in types.items():
        write(f"lstm_{name}", typed.state_dict())
        write_values(f"lstm_{name}", **run_recurrent(typed, x))


# Keras and ONNX


def gates(tensor, order):
    """The blocks of the first axis, in another order: `order` says which of PyTorch's comes first, second and so on."""
    blocks = tensor.chunk(len(order))
    return torch.cat([blocks[i] for i in order])


# PyTorch has the gates i, f, g, o of an LSTM and r, z, n of a GRU.
KERAS_ORDER = {"lstm": [0, 1, 2, 3], "gru": [1, 0, 2]}
ONNX_ORDER = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn_tanh": [0]}


def in_order(name, order):
    stored = recurrent(name).state_dict()
    return [gates(stored[key], order) for key in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]


def check_against(name, values):
    """That another library computes from the converted weights what PyTorch computes from its own."""
    for key, value in load_file(HERE / f"{name}.values.safetensors").items():
        torch.testing.assert_close(values[key].float(), value, rtol=0, atol=1e-6)


def make_keras():
    import keras

    for name, kind in {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}.items():
        w_input, w_hidden, bias_input, bias_hidden = in_order(name, KERAS_ORDER[name])
        kernels = {"kernel": w_input.t(), "recurrent_kernel": w_hidden.t()}
        both, added = torch.stack([bias_input, bias_hidden]), bias_input + bias_hidden
        stored = {**kernels, "bias": both if name == "gru" else added}
        write_tensors(f"keras_{name}", stored)
        if name == "gru":
            write_tensors("keras_gru_reset_before", {**kernels, "bias": added})

        layer, x = kind(5, return_sequences=True, return_state=True, dtype="float64"), given(name, 3)
        layer.build((BATCH, STEPS, 3))
        assert [weight.name for weight in layer.weights if "seed" not in weight.name] == list(stored)
        layer.set_weights([value.double().numpy() for value in stored.values()])
        output, *state = layer(x.double())
        assert output.dtype == torch.float64
        values = {"input": x, "output": output, **dict(zip(["hidden", "cell"], (part[None] for part in state)))}
        check_against(name, values)
        write_values(f"keras_{name}", **values)


def make_onnx():
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    for name, operator in {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN"}.items():
        w_input, w_hidden, bias_input, bias_hidden = in_order(name, ONNX_ORDER[name])
        stored = {"W": w_input[None], "R": w_hidden[None], "B": torch.cat([bias_input, bias_hidden])[None]}
        target = f"onnx_{operator.lower()}"
        write_tensors(target, stored)

        results = ["Y", "Y_h", "Y_c"] if name == "lstm" else ["Y", "Y_h"]
        options = {"linear_before_reset": 1} if name == "gru" else {}
        x = given(name, 3)
        feeds = {"X": x.transpose(0, 1), **stored}
        feeds = {key: np.ascontiguousarray(value.double().numpy()) for key, value in feeds.items()}
        graph = helper.make_graph(
            [helper.make_node(operator, list(feeds), results, hidden_size=5, **options)],
            name,
            [helper.make_tensor_value_info(key, TensorProto.DOUBLE, value.shape) for key, value in feeds.items()],
            [helper.make_tensor_value_info(key, TensorProto.DOUBLE, None) for key in results],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
        output, *state = (torch.from_numpy(value) for value in ReferenceEvaluator(model).run(None, feeds))
        assert output.dtype == torch.float64
        values = {"input": x, "output": output.squeeze(1).transpose(0, 1), **dict(zip(["hidden", "cell"], state))}
        check_against(name, values)
        write_values(target, **values)


# The Neural Turing Machine of loudinthecloud/pytorch-ntm


def part(tensors=(), buffers=(), **children):
    """A module that only holds what it is given."""
    module = nn.Module()
    for key, value in dict(tensors).items():
        module.register_parameter(key, nn.Parameter(value))
    for key, value in dict(buffers).items():
        module.register_buffer(key, value)
    for key, child in children.items():
        module.add_module(key, child)
    return module


def make_ntm():
    golden = load_file(GOLDENS / "ntm_copy.safetensors")
    weights = {key.removeprefix("param."): value for key, value in golden.items() if key.startswith("param.")}
    shape = lambda key: weights[key].shape
    linear = lambda key: nn.Linear(*reversed(shape(f"{key}.weight")))
    w_hidden, w_input = shape("ntm.controller.lstm.weight_hh_l0"), shape("ntm.controller.lstm.weight_ih_l0")
    starts = {key: torch.empty(shape(f"ntm.controller.{key}")) for key in ("lstm_h_bias", "lstm_c_bias")}
    # One memory, held by the machine, by both heads and by the wrapper, and therefore stored under four names.
    memory = part(buffers={"mem_bias": torch.empty(shape("memory.mem_bias"))})
    heads = nn.ModuleList([
        part(memory=memory, fc_read=linear("ntm.heads.0.fc_read")),
        part(memory=memory, fc_write=linear("ntm.heads.1.fc_write")),
    ])
    ntm = part(
        buffers={"read0_bias": torch.empty(shape("ntm.read0_bias"))},
        controller=part(starts, lstm=nn.LSTM(w_input[1], w_hidden[1])),
        memory=memory,
        heads=heads,
        fc=linear("ntm.fc"),
    )
    net = part(ntm=ntm, memory=memory)
    left = net.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys
    assert all(key.endswith(".memory.mem_bias") for key in left.missing_keys) and len(left.missing_keys) == 3
    stored = net.state_dict()
    addresses = {stored[key].data_ptr() for key in [*left.missing_keys, "memory.mem_bias"]}
    assert len(addresses) == 1 and all(torch.equal(stored[key], weights[key].float()) for key in weights)
    write("ntm", stored)


# The layers of flash-linear-attention, whose kernels need a GPU: what they compute is written out here, after the source
# of 0.6.0. Its own layers, in float32 and with the kernels run by Triton's interpreter, come to the same within 5e-7.


def convolved(x, weight):
    """Each channel with its own window of the last steps, zeros before the first; then SiLU."""
    window = weight.shape[-1]
    x = F.conv1d(F.pad(x.transpose(1, 2), (window - 1, 0)), weight, groups=weight.shape[0])
    return F.silu(x.transpose(1, 2))


def unit(x):
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def normalized(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def by_heads(x, n_heads):
    return x.unflatten(-1, (n_heads, -1))


def delta(q, k, v, beta, log_decay):
    """q, log_decay [B, T, H, ..]; k, v, beta [B, T, N, H, ..]: N writes a step, after the decay and before the read."""
    memory, outputs = q.new_zeros(BATCH, q.shape[2], q.shape[3], v.shape[-1]), []
    for t in range(STEPS):
        if log_decay is not None:
            memory = memory * log_decay[:, t].exp()[..., None]
        for j in range(k.shape[2]):
            error = v[:, t, j] - torch.einsum("bhkv,bhk->bhv", memory, k[:, t, j])
            memory = memory + torch.einsum("bh,bhk,bhv->bhkv", beta[:, t, j], k[:, t, j], error)
        outputs.append(torch.einsum("bhkv,bhk->bhv", memory, q[:, t]) / q.shape[-1] ** 0.5)
    return torch.stack(outputs, 1)


def forward(name, w, x, n_heads=2, n_writes=1):
    linear = lambda key: F.linear(x, w[f"{key}.weight"])
    project = lambda key: convolved(linear(f"{key}_proj"), w[f"{key}_conv1d.weight"])
    # The features of k, v and beta: first all heads of the first write, then all heads of the second.
    writes = lambda y: y.unflatten(-1, (n_writes, n_heads, -1))
    q, k, v = unit(by_heads(project("q"), n_heads)), unit(writes(project("k"))), writes(project("v"))
    beta = writes(linear("b_proj").sigmoid()).squeeze(-1)
    log_decay, gate = None, None
    if name in ("fla_gated_delta_net", "fla_gated_delta_product"):
        log_decay = (-w["A_log"].exp() * F.softplus(linear("a_proj") + w["dt_bias"]))[..., None]
        gate = F.silu(linear("g_proj"))
    if name == "fla_kda":
        before = by_heads(F.linear(linear("f_proj.0"), w["f_proj.1.weight"]) + w["dt_bias"], n_heads)
        log_decay = -w["A_log"].exp()[:, None] * F.softplus(before)
        gate = F.linear(linear("g_proj.0"), w["g_proj.1.weight"], w["g_proj.1.bias"]).sigmoid()
    if name == "fla_gated_delta_product":
        # By default, `allow_neg_eigval` is set in this layer and in no other.
        beta = 2 * beta
    output = normalized(delta(q, k, v, beta, log_decay), w["o_norm.weight"]).flatten(-2)
    return F.linear(output if gate is None else output * gate, w["o_proj.weight"])


def make_fla():
    from fla.layers import DeltaNet, GatedDeltaNet, GatedDeltaProduct, KimiDeltaAttention

    layers = {
        "fla_delta_net": DeltaNet(hidden_size=8, num_heads=2),
        "fla_gated_delta_net": GatedDeltaNet(hidden_size=8, num_heads=2, head_dim=4, expand_v=2),
        "fla_kda": KimiDeltaAttention(hidden_size=8, num_heads=2, head_dim=4),
        "fla_gated_delta_product": GatedDeltaProduct(hidden_size=8, num_heads=2, head_dim=4, num_householder=2),
    }
    for name, layer in layers.items():
        fill(layer, name, {"A_log": 0.3, "dt_bias": 1.0})
        stored = layer.state_dict()
        assert all(value.dtype == torch.float32 for value in stored.values())
        write(name, stored)
        x = given(name, 8)
        w = {key: value.double() for key, value in stored.items()}
        output = forward(name, w, x.double(), n_writes=getattr(layer, "num_householder", 1))
        write_values(name, input=x, output=output)


def rwkv7(w, x, n_heads=2):
    """`RWKV7Attention` with `layer_idx=0`, after the source."""
    change = F.pad(x, (0, 0, 1, -1)) - x
    mixed = lambda key: x + change * w[f"x_{key}"]
    linear = lambda key, y: F.linear(y, w[f"{key}.weight"], w.get(f"{key}.bias"))
    low_rank = lambda key, between: linear(f"{key}_lora.lora.2", between(linear(f"{key}_lora.lora.0", mixed(key))))
    r, k, v = (linear(f"{key}_proj", mixed(key)) for key in "rkv")
    log_decay = -0.6065306597126334 * low_rank("w", torch.tanh).sigmoid()
    rate = low_rank("a", lambda y: y).sigmoid()
    gate = low_rank("g", torch.sigmoid)
    removal = F.normalize(by_heads(k * w["k_k"], n_heads), dim=-1)
    k = k + k * (rate - 1) * w["k_a"]
    r, k, v, rate, log_decay = (by_heads(y, n_heads) for y in (r, k, v, rate, log_decay))
    memory, outputs = x.new_zeros(BATCH, n_heads, k.shape[-1], v.shape[-1]), []
    for t in range(STEPS):
        read = torch.einsum("bhkv,bhk->bhv", memory, -removal[:, t])
        memory = (memory * log_decay[:, t].exp()[..., None]
                  + torch.einsum("bhk,bhv->bhkv", removal[:, t] * rate[:, t], read)
                  + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t]))
        outputs.append(torch.einsum("bhkv,bhk->bhv", memory, r[:, t]))
    output = torch.stack(outputs, 1).flatten(0, 1).flatten(1)
    epsilon = v.shape[-1] * 1e-5
    output = F.group_norm(output, n_heads, w["g_norm.weight"], w["g_norm.bias"], epsilon).unflatten(0, (BATCH, STEPS))
    output = output + ((r * k * w["r_k"]).sum(-1, keepdim=True) * v).flatten(-2)
    return F.linear(output * gate, w["o_proj.weight"])


def make_rwkv7():
    from fla.layers import RWKV7Attention

    name = "fla_rwkv7"
    ranks = {f"{key}_low_rank_dim": rank for key, rank in [("decay", 3), ("a", 2), ("gate", 5)]}
    layer = RWKV7Attention(hidden_size=8, head_dim=4, layer_idx=0, num_hidden_layers=2, **ranks)
    fill(layer, name)
    stored = layer.state_dict()
    assert all(value.dtype == torch.float32 for value in stored.values())
    write(name, stored)
    x = given(name, 8)
    output = rwkv7({key: value.double() for key, value in stored.items()}, x.double())
    write_values(name, input=x, output=output)


def make_xlstm():
    """The layer itself, in float64, by the forms of xlstm that need no GPU."""
    from mlstm_kernels.torch.backend_module import mLSTMBackendConfig
    from xlstm.xlstm_large.model import mLSTMLayer, mLSTMLayerConfig

    name = "xlstm_mlstm"
    plain = mLSTMBackendConfig(
        chunkwise_kernel="chunkwise--native_autograd", sequence_kernel="native_sequence__native", step_kernel="native",
        autocast_kernel_dtype="float32", inference_state_dtype="float64", mode="inference")
    config = mLSTMLayerConfig(embedding_dim=8, num_heads=2, norm_reduction_force_float32=False, mlstm_backend=plain)
    layer = fill(mLSTMLayer(config), name, {"igate_preact.bias": 2.0, "fgate_preact.bias": 2.0})
    write(name, layer.state_dict())
    x = given(name, 8)
    output, _ = double(layer)(x.double())
    assert output.dtype == torch.float64
    write_values(name, input=x, output=output)


if __name__ == "__main__":
    make_recurrent()
    make_cells()
    make_ways_of_storing()
    make_keras()
    make_onnx()
    make_ntm()
    make_fla()
    make_rwkv7()
    make_xlstm()
