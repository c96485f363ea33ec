"""The matrix memories of an mLSTM and of RWKV-7 in PyTorch, over chunks of steps, with all that can be done for all chunks at once.

Inputs are those of `protocol.mlstm_inputs` and `protocol.rwkv7_inputs`, the output is [B, T, H, V]. Samples and heads are one axis, N.
"""

import math

import torch
from torch.nn import functional as F

from delta_torch import by_head, chunk_length


def in_chunks(x, length):
    """[B, T, H, ...] as [chunks, N, length, ...]"""
    x = by_head(x)
    if beyond := -x.shape[1] % length:
        x = torch.cat([x, x.new_zeros(x.shape[0], beyond, *x.shape[2:])], 1)
    return x.unflatten(1, (-1, length)).transpose(0, 1).contiguous()


def in_time(o, like):
    """[chunks, N, length, V] as [B, T, H, V]"""
    o = o.transpose(0, 1).flatten(1, 2)[:, :like.shape[1]]
    return o.unflatten(0, (like.shape[0], -1)).transpose(1, 2)


def mlstm(q, k, v, input_gate, forget_gate, memory, chunk=None):
    """The chunkwise form of Beck et al. 2024; the normaliser is a column of the values, and of the memory."""
    chunk = min(chunk or chunk_length(q.shape[3]), q.shape[1])
    like, d_value = q, v.shape[3]
    # Steps beyond the end let nothing in.
    beyond = -q.shape[1] % chunk
    input_gate = F.pad(input_gate, (0, 0, 0, beyond), value=-1e30)
    v = torch.cat([v, v.new_ones(*v.shape[:3], 1)], 3)
    q, k, v = in_chunks(q, chunk), in_chunks(k / math.sqrt(q.shape[3]), chunk), in_chunks(v, chunk)
    i, kept = in_chunks(input_gate, chunk), in_chunks(F.logsigmoid(forget_gate), chunk).cumsum(2)
    end = kept[:, :, -1:]
    lasting = end - kept + i
    most = lasting.amax(2, keepdim=True)
    s, m = memory.flatten(0, 1), memory.new_zeros(len(memory) * memory.shape[1], 1)
    states, scales = [], []
    for k_c, v_c, end_c, lasting_c, most_c in zip(*(x.unbind(0) for x in (k, v, end, lasting, most))):
        states.append(s)
        scales.append(m)
        following = torch.maximum(m + end_c, most_c)
        weights = (lasting_c - following).exp()
        s = (m + end_c - following).exp().unsqueeze(2) * s + (k_c * weights.unsqueeze(2)).mT @ v_c
        m = following
    states, scales = torch.stack(states), torch.stack(scales)
    lower = torch.ones(chunk, chunk, dtype=torch.bool, device=q.device).tril()
    between = (kept.unsqueeze(3) - kept.unsqueeze(2) + i.unsqueeze(2)).masked_fill(~lower, -math.inf)
    since_start = kept + scales
    scale = torch.maximum(between.amax(3), since_start)
    scores = q @ k.mT * (between - scale.unsqueeze(3)).exp()
    y = scores @ v + q @ states * (since_start - scale).exp().unsqueeze(3)
    normalizer = torch.maximum(y[..., d_value:].abs(), (-scale).exp().unsqueeze(3)) + 1e-6
    return in_time(y[..., :d_value] / normalizer, like)


def rwkv7(r, w, k, v, a, b, state, chunk=None):
    """What a chunk reads with a, p, solves (I - A) p = what is left of Sᵀ a, and what the chunk's own k have written."""
    chunk = min(chunk or chunk_length(r.shape[3]), r.shape[1])
    like = r
    r, w, k, v, a, b = (in_chunks(x, chunk) for x in (r, w, k, v, a, b))
    since = w.cumsum(2)
    end = since[:, :, -1:]
    # Keys undone to the chunk's start: up to exp(0.61 * 64), which float32 holds.
    a_start, r_start = a * (since - w).exp(), r * since.exp()
    undone = (-since).exp()
    b_start, k_start = (b * undone).mT, (k * undone).mT
    b_end, k_end = ((x * (end - since).exp()).mT for x in (b, k))
    lower = torch.ones(chunk, chunk, dtype=torch.bool, device=r.device).tril()
    earlier = lower.tril(-1)
    system = -(a_start @ b_start).masked_fill(~earlier, 0)
    identity = torch.eye(chunk, device=r.device).expand_as(system)
    inverse = torch.linalg.solve_triangular(system, identity, upper=False, unitriangular=True)
    own = inverse @ ((a_start @ k_start).masked_fill(~earlier, 0) @ v)
    of_state = inverse @ a_start
    left = end.exp().mT
    s, states, read = state.flatten(0, 1), [], []
    for own_c, of_state_c, b_c, k_c, v_c, left_c in zip(*(x.unbind(0) for x in (own, of_state, b_end, k_end, v, left))):
        states.append(s)
        read.append(torch.baddbmm(own_c, of_state_c, s))
        s = torch.baddbmm(torch.baddbmm(left_c * s, b_c, read[-1]), k_c, v_c)
    scores_b = (r_start @ b_start).masked_fill(~lower, 0)
    scores_k = (r_start @ k_start).masked_fill(~lower, 0)
    return in_time(r_start @ torch.stack(states) + scores_b @ torch.stack(read) + scores_k @ v, like)
