"""Fast weights, a Neural Turing Machine and Sparse Attentive Backtracking in PyTorch, as one writes them: the equations as a
loop over tensor operations, for the whole batch at once; the delta rule (`delta_torch.py`); and PyTorch's own LSTM, GRU and Elman
network."""

import os
from functools import partial

import torch
from torch import nn

import delta_torch
import successors_torch
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
    rates = RATE * DECAY ** torch.arange(x.shape[1] - 1, -1, -1, dtype=x.dtype, device=x.device)
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


def lstm_step(gates, c):
    i, f, g, o = gates.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


class Ntm(nn.Module):
    """One read head, one write head, an LSTM controller; reads before it writes."""

    def __init__(self):
        super().__init__()
        for name, value in protocol.ntm_parameters().items():
            self.register_parameter(name, nn.Parameter(torch.tensor(value), requires_grad=name != "memory"))
        n = self.memory.shape[0]
        first = torch.zeros(1, n)
        first[:, 0] = 1
        self.register_buffer("first_weights", first)

    def weights(self, raw, memory, prev):
        m = memory.shape[2]
        k, beta, gamma, gate, shift = raw.split([m, 1, 1, 1, raw.shape[1] - m - 3], 1)
        beta, gamma = nn.functional.softplus(beta), 1 + nn.functional.softplus(gamma)
        gate, shift = gate.sigmoid(), shift.softmax(1)
        similarity = nn.functional.cosine_similarity(memory, k.unsqueeze(1), dim=2, eps=1e-8)
        w = gate * (beta * similarity).softmax(1) + (1 - gate) * prev
        w = shift[:, 0:1] * w.roll(1, 1) + shift[:, 1:2] * w + shift[:, 2:3] * w.roll(-1, 1)
        w = w ** gamma
        return w / (w.sum(1, keepdim=True) + 1e-16)

    def step(self, x_t, h, c, memory, r, w_read, w_write):
        m = memory.shape[2]
        h, c = lstm_step(torch.cat([x_t, r], 1) @ self.w_input + self.b + h @ self.w_hidden, c)
        w_read = self.weights(h @ self.w_read + self.b_read, memory, w_read)
        raw = h @ self.w_write + self.b_write
        w_write = self.weights(raw[:, :-2 * m], memory, w_write)
        erase, add = raw[:, -2 * m:-m].sigmoid(), raw[:, -m:]
        r = torch.bmm(w_read.unsqueeze(1), memory).squeeze(1)
        w = w_write.unsqueeze(2)
        memory = memory * (1 - w * erase.unsqueeze(1)) + w * add.unsqueeze(1)
        return h, c, memory, r, w_read, w_write

    def forward(self, x):
        batch_size = x.shape[0]
        rows = lambda start: start.expand(batch_size, -1)
        state = (rows(self.h0), rows(self.c0), self.memory.expand(batch_size, -1, -1), rows(self.r0),
                 rows(self.first_weights), rows(self.first_weights))
        outputs = []
        for x_t in x.unbind(1):
            state = self.step(x_t, *state)
            outputs.append(torch.cat([state[0], state[3]], 1))
        return torch.stack(outputs, 1) @ self.w_output + self.b_output


class Sab(nn.Module):
    """Over an LSTM: scores by a multilayer perceptron, softmax over the best, the mean of state and summary."""

    def __init__(self, sizes):
        super().__init__()
        for name, value in protocol.sab_parameters(sizes).items():
            self.register_parameter(name, nn.Parameter(torch.tensor(value)))
        self.sizes = sizes

    def forward(self, x):
        sizes = self.sizes
        projected = x @ self.w_input + self.b
        h = x.new_zeros(x.shape[0], sizes["d_hidden"])
        c = torch.zeros_like(h)
        memories, keys, outputs = [], [], []
        for t, projected_t in enumerate(projected.unbind(1)):
            if t % sizes["truncation_length"] == 0:
                h, c = h.detach(), c.detach()
            h, c = lstm_step(projected_t + h @ self.w_hidden, c)
            s = torch.zeros_like(h)
            if memories:
                scores = torch.tanh((h @ self.w_query).unsqueeze(1) + torch.stack(keys, 1)) @ self.v
                best, chosen = scores.topk(min(sizes["top_k"], len(memories)), 1)
                recalled = torch.stack(memories, 1).gather(1, chosen.unsqueeze(2).expand(-1, -1, h.shape[1]))
                s = torch.bmm(best.softmax(1).unsqueeze(1), recalled).squeeze(1)
                h = (h + s) / 2
            if (t + 1) % sizes["attention_interval"] == 0:
                memories.append(h)
                keys.append(h @ self.w_key)
            outputs.append(torch.cat([h, s], 1))
        return torch.stack(outputs, 1) @ self.w_output + self.b_output


def finished(call, device):
    """The same, to the end of what a GPU was told to compute."""
    if device == "cpu":
        return call

    def finishing():
        result = call()
        torch.cuda.synchronize()
        return result

    return finishing


def fma_peak():
    """Multiply-adds that the GPU makes in a nanosecond in a large product in float32."""
    n = 8192
    a = torch.randn(n, n, device="cuda")
    call = finished(lambda: a @ a, "cuda")
    call()
    return n**3 / (min(protocol.clock(call, 1.0)) * 1e6)


def training(model, loss, device):
    """A step of training: forward, backward and an update by Adam; returns the loss before it."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=protocol.LEARNING_RATE)

    def call():
        optimizer.zero_grad()
        value = loss(model)
        value.backward()
        optimizer.step()
        return value

    whole = finished(call, device)
    # The loss at first, and after three updates.
    whole.fingerprint = lambda: [call().item() for _ in range(4)][::3]
    return whole


def memory(variant, sizes, device):
    """Forward, and backward to the gradients of all that the operation is given."""
    of_rule = {"mlstm": protocol.mlstm_inputs, "rwkv7": protocol.rwkv7_inputs}
    given = of_rule.get(variant.split("-")[1], protocol.delta_inputs)(sizes)
    inputs = [None if a is None else torch.tensor(a, device=device, requires_grad=True) for a in given.values()]
    leaves = [leaf for leaf in inputs if leaf is not None]
    forward = {
        "torch-mlstm-chunks": successors_torch.mlstm,
        "torch-mlstm-chunks-compiled": torch.compile(successors_torch.mlstm),
        "torch-rwkv7-chunks": successors_torch.rwkv7,
        "torch-rwkv7-chunks-compiled": torch.compile(successors_torch.rwkv7),
        "torch-steps": partial(delta_torch.steps, delta_torch.step_by_products),
        # The step: the whole sequence, unrolled, takes minutes to compile.
        "torch-steps-compiled": partial(delta_torch.steps, torch.compile(delta_torch.step_by_sums)),
        "torch-chunks": delta_torch.chunks,
        "torch-chunks-compiled": torch.compile(delta_torch.chunks),
    }[variant]
    ones = torch.ones(sizes["batch_size"], sizes["seq_length"], sizes["n_heads"], sizes["d_value"], device=device)

    def call():
        for leaf in leaves:
            leaf.grad = None
        output = forward(*inputs)
        output.backward(ones)
        return output.detach()

    def fingerprint():
        output = call()
        gradients = torch.cat([leaf.grad.flatten() for leaf in leaves])
        return protocol.fingerprint(output.cpu(), gradients.cpu())

    whole = finished(call, device)
    whole.fingerprint = fingerprint
    return whole


def prepare(variant, sizes, device):
    torch.manual_seed(0)
    name = variant.removesuffix("-compiled")
    if name in ("torch-steps", "torch-chunks", "torch-mlstm-chunks", "torch-rwkv7-chunks"):
        return memory(variant, sizes, device)
    if name == "torch-ntm":
        model = Ntm().to(device)
        if variant != name:
            # The step: the whole sequence, unrolled, takes minutes to compile.
            model.step = torch.compile(model.step)
        x, target = (torch.tensor(a, device=device) for a in protocol.ntm_copy(sizes))
        answer = lambda: model(x)[:, -sizes["length"]:]
        return training(model, lambda _: nn.functional.binary_cross_entropy_with_logits(answer(), target), device)
    if name == "torch-sab":
        model = Sab(sizes).to(device)
        x, target = (torch.tensor(a, device=device) for a in protocol.sab_copy(sizes))
        return training(model, lambda _: nn.functional.cross_entropy(model(x).flatten(0, 1), target.flatten()),
                        device)

    x = torch.tensor(protocol.inputs(sizes), device=device, requires_grad=True)
    if name in ("torch-lstm", "torch-gru", "torch-rnn"):
        kind = {"torch-lstm": nn.LSTM, "torch-gru": nn.GRU, "torch-rnn": nn.RNN}[name]
        layer = kind(sizes["d_input"], sizes["d_hidden"], batch_first=True).to(device)
        leaves = [x, *layer.parameters()]
        forward = lambda: layer(x)[0]
    else:
        parameters = [torch.tensor(p, device=device, requires_grad=True) for p in protocol.parameters(sizes)]
        leaves = [x, *parameters]
        function = {"torch-matrix": matrix, "torch-attention": attention}[name]
        if name != variant:
            function = torch.compile(function)
        forward = lambda: function(x, *parameters, sizes["inner_steps"])
    ones = torch.ones(sizes["batch_size"], sizes["seq_length"], sizes["d_hidden"], device=device)

    def call():
        for leaf in leaves:
            leaf.grad = None
        output = forward()
        output.backward(ones)
        return output.detach(), x.grad

    def fingerprint():
        output, gradient = call()
        return protocol.fingerprint(output.cpu(), gradient.cpu())

    whole = finished(call, device)
    whole.fingerprint = fingerprint
    return whole


protocol.serve(prepare, fma_peak)
