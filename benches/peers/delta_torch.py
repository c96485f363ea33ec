"""The delta rule in PyTorch, as one writes it: a loop over steps, or over chunks of steps with a triangular system in each.

Inputs are those of `protocol.delta_inputs`, the output is [B, T, H, V]. Samples and heads are one axis, N.
"""

import math

import torch


def by_head(x):
    """[B, T, H, ...] as [N, T, ...]"""
    return x.transpose(1, 2).flatten(0, 1)


def step_by_products(s, q, keys, values, beta, decay):
    """A step of all heads: s [N, K, V], q [N, K], keys [N, n, K], values [N, n, V], beta [N, n, 1], decay [N, 1 or K, 1] or None."""
    if decay is not None:
        s = decay * s
    for k, v, b in zip(keys.unbind(1), values.unbind(1), beta.unbind(1)):
        error = torch.baddbmm(v.unsqueeze(1), k.unsqueeze(1), s, alpha=-1)
        s = torch.baddbmm(s, (b * k).unsqueeze(2), error)
    return s, torch.bmm(q.unsqueeze(1), s).squeeze(1)


def step_by_sums(s, q, keys, values, beta, decay):
    """The same without a product of matrices: slower eager, and twice as fast compiled, since it becomes a few loops."""
    if decay is not None:
        s = decay * s
    for k, v, b in zip(keys.unbind(1), values.unbind(1), beta.unbind(1)):
        error = v - (k.unsqueeze(2) * s).sum(1)
        s = s + (b * k).unsqueeze(2) * error.unsqueeze(1)
    return s, (q.unsqueeze(2) * s).sum(1)


def steps(step, q, k, v, beta, log_decay, state):
    batch_size, seq_length, heads, d_key = q.shape

    def in_time(x):
        """[B, T n, H, ...] as T times [N, n, ...]"""
        return by_head(x).unflatten(1, (seq_length, -1)).transpose(0, 1).contiguous().unbind(0)

    queries = by_head(q / math.sqrt(d_key)).transpose(0, 1).contiguous().unbind(0)
    decays = [None] * seq_length
    if log_decay is not None:
        decays = by_head(log_decay.exp()).transpose(0, 1).reshape(seq_length, batch_size * heads, -1, 1).unbind(0)
    s = state.flatten(0, 1)
    outputs = []
    for inputs in zip(queries, in_time(k), in_time(v), in_time(beta.unsqueeze(-1)), decays):
        s, o = step(s, *inputs)
        outputs.append(o)
    return torch.stack(outputs, 1).unflatten(0, (batch_size, heads)).transpose(1, 2)


def chunk_length(d_key):
    """Writes in a chunk: of 8, 16, 32, 64 and 128 the fastest on the suite's lines, or as fast."""
    return min(max(d_key // 2, 16), 64)


def before(q, k, v, beta, log_decay, chunk):
    """What does not need S, of all chunks at once. With C the writes in a chunk and R its reads: u and w, which give what is
    written, u - w S [chunks, N, C, V]; the keys as they are at the chunk's end [chunks, N, C, K], and what is left of S there; the
    queries as they are to S at the chunk's start [chunks, N, R, K]; the scores of what is written [chunks, N, R, C].

    A step with n writes is n small steps, of which the first fades and the last is read."""
    seq_length, d_key = q.shape[1], q.shape[3]
    n = k.shape[1] // seq_length
    reads = min(max(chunk // n, 1), seq_length)
    writes = reads * n

    def in_chunks(x, length):
        """[B, T, H, ...] as [chunks, N, length, ...]; steps beyond the end neither write nor fade."""
        x = by_head(x)
        if beyond := -x.shape[1] % length:
            x = torch.cat([x, x.new_zeros(x.shape[0], beyond, *x.shape[2:])], 1)
        return x.unflatten(1, (-1, length)).transpose(0, 1).contiguous()

    q, k, v = in_chunks(q / math.sqrt(d_key), reads), in_chunks(k, writes), in_chunks(v, writes)
    beta = in_chunks(beta, writes).unsqueeze(-1)
    lower = torch.ones(writes, writes, dtype=torch.bool, device=q.device).tril()
    k_start, q_start, k_end, left = k, q, k, None
    if log_decay is None:
        among, scores = k @ k.mT, (q @ k.mT).masked_fill(~lower[n - 1::n], 0)
    else:
        at_reads = in_chunks(log_decay if log_decay.dim() == 4 else log_decay.unsqueeze(-1), reads).cumsum(2)
        at_writes = at_reads if n == 1 else at_reads.repeat_interleave(n, 2)
        end = at_reads[:, :, -1:]
        since_start = at_writes.exp()
        k_start, q_start = k * since_start, q * (since_start if n == 1 else at_reads.exp())
        k_end, left = k * (end - at_writes).exp(), end.exp().mT
        if log_decay.dim() == 4:
            # Keys undone to the chunk's start: up to exp(0.5 * 64) here, which float32 holds; decays of any size it would not.
            undone = (k * (-at_writes).exp()).mT
            among, scores = k_start @ undone, (q_start @ undone).masked_fill(~lower[n - 1::n], 0)
        else:
            between = (at_writes - at_writes.mT).masked_fill(~lower, -math.inf).exp()
            among, scores = k @ k.mT * between, q @ k.mT * (between if n == 1 else between[:, :, n - 1::n])
    # The solver looks below the diagonal alone. The inverse, and products with it, are faster than to solve for v and k at once.
    identity = torch.eye(writes, device=q.device).expand_as(among)
    inverse = torch.linalg.solve_triangular(beta * among, identity, upper=False, unitriangular=True) * beta.mT
    return inverse @ v, inverse @ k_start, k_end, left, q_start, scores


def over_chunks(u, w, k_end, left, state):
    """S before each chunk and what each chunk writes."""
    s = state.flatten(0, 1)
    states, written = [], []
    lefts = [None] * len(u) if left is None else left.unbind(0)
    for u_c, w_c, k_c, left_c in zip(u.unbind(0), w.unbind(0), k_end.unbind(0), lefts):
        states.append(s)
        written.append(torch.baddbmm(u_c, w_c, s, alpha=-1))
        s = torch.baddbmm(s if left_c is None else left_c * s, k_c.mT, written[-1])
    return torch.stack(states), torch.stack(written)


def chunks(q, k, v, beta, log_decay, state, chunk=None):
    """The WY form of Yang et al. 2024: what a chunk writes, u, solves (I + A) u = β (v - what is left of Sᵀ k)."""
    u, w, k_end, left, q_start, scores = before(q, k, v, beta, log_decay, chunk or chunk_length(q.shape[3]))
    states, written = over_chunks(u, w, k_end, left, state)
    o = (q_start @ states + scores @ written).transpose(0, 1).flatten(1, 2)[:, :q.shape[1]]
    return o.unflatten(0, (q.shape[0], -1)).transpose(1, 2)
