"""Fast weights, LSTM and GRU in PyTorch: forward and backward, to the gradients of the input and every parameter."""

import os

import torch
from torch import nn

import protocol
from protocol import DECAY, EPSILON, RATE

torch.set_num_threads(len(os.sched_getaffinity(0)))


def norm(v, gain, bias):
    return nn.functional.layer_norm(v, (v.shape[-1],), gain, bias, EPSILON)


def matrix(x, c, b, w, gain, bias, inner_steps):
    """The memory as a matrix."""
    projected = x @ c + b
    h = x.new_zeros(x.shape[0], c.shape[1])
    a = x.new_zeros(x.shape[0], c.shape[1], c.shape[1])
    outputs = []
    for projected_t in projected.unbind(1):
        z = projected_t + h @ w
        s = torch.relu(z)
        for _ in range(inner_steps):
            s = torch.relu(norm(z + torch.bmm(a, s.unsqueeze(2)).squeeze(2), gain, bias))
        h = s
        a = DECAY * a + RATE * h.unsqueeze(2) * h.unsqueeze(1)
        outputs.append(h)
    return torch.stack(outputs, 1)


def attention(x, c, b, w, gain, bias, inner_steps):
    """The memory as attention to the past states."""
    projected = x @ c + b
    h = x.new_zeros(x.shape[0], c.shape[1])
    rates = RATE * DECAY ** torch.arange(x.shape[1] - 1, -1, -1, dtype=x.dtype)
    outputs = []
    for projected_t in projected.unbind(1):
        z = projected_t + h @ w
        s = torch.relu(z)
        history = torch.stack(outputs, 1) if outputs else None
        for _ in range(inner_steps):
            read = z
            if history is not None:
                scores = torch.bmm(history, s.unsqueeze(2)).squeeze(2) * rates[-len(outputs):]
                read = z + torch.bmm(scores.unsqueeze(1), history).squeeze(1)
            s = torch.relu(norm(read, gain, bias))
        h = s
        outputs.append(h)
    return torch.stack(outputs, 1)


def prepare(variant, sizes):
    torch.manual_seed(0)
    x = torch.tensor(protocol.inputs(sizes), requires_grad=True)
    name = variant.removesuffix("-compiled")
    if name in ("torch-lstm", "torch-gru"):
        layer = (nn.LSTM if name == "torch-lstm" else nn.GRU)(
            sizes["d_input"], sizes["d_hidden"], batch_first=True
        )
        leaves = [x, *layer.parameters()]
        forward = lambda: layer(x)[0]
    else:
        parameters = [torch.tensor(p, requires_grad=True) for p in protocol.parameters(sizes)]
        leaves = [x, *parameters]
        function = {"torch-matrix": matrix, "torch-attention": attention}[name]
        if name != variant:
            function = torch.compile(function)
        forward = lambda: function(x, *parameters, sizes["inner_steps"])
    ones = torch.ones(sizes["batch_size"], sizes["seq_length"], sizes["d_hidden"])

    def call():
        for leaf in leaves:
            leaf.grad = None
        output = forward()
        output.backward(ones)
        return output.detach(), x.grad

    return call


protocol.serve(prepare)
