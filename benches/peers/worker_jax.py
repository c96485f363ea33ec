"""Fast weights and the delta rule in JAX, jit over a scan: forward and backward, to the gradients of the input and every parameter."""

import jax
import jax.numpy as jnp
from jax import lax

import protocol
from protocol import DECAY, EPSILON, RATE


def norm(v, gain, bias):
    centred = v - v.mean(-1, keepdims=True)
    return gain * centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + EPSILON) + bias


def matrix(x, parameters, inner_steps):
    """The memory as a matrix."""
    c, b, w, gain, bias = parameters
    batch_size, d_hidden = x.shape[0], c.shape[1]

    def step(state, projected_t):
        h, a = state
        z = projected_t + h @ w
        s = jax.nn.relu(z)
        for _ in range(inner_steps):
            s = jax.nn.relu(norm(z + jnp.einsum("bij,bj->bi", a, s), gain, bias))
        return (s, DECAY * a + RATE * s[:, :, None] * s[:, None, :]), s

    start = (jnp.zeros((batch_size, d_hidden)), jnp.zeros((batch_size, d_hidden, d_hidden)))
    _, outputs = lax.scan(step, start, (x @ c + b).swapaxes(0, 1))
    return outputs.swapaxes(0, 1)


def attention(x, parameters, inner_steps):
    """The memory as attention to the past states, in a buffer as long as the sequence."""
    c, b, w, gain, bias = parameters
    batch_size, seq_length, _ = x.shape
    d_hidden = c.shape[1]

    def step(state, inputs):
        projected_t, t = inputs
        h, history = state
        age = t - 1 - jnp.arange(seq_length)
        rates = jnp.where(age >= 0, RATE * DECAY ** jnp.maximum(age, 0), 0.0)
        z = projected_t + h @ w
        s = jax.nn.relu(z)
        for _ in range(inner_steps):
            scores = jnp.einsum("bth,bh->bt", history, s) * rates
            s = jax.nn.relu(norm(z + jnp.einsum("bt,bth->bh", scores, history), gain, bias))
        return (s, lax.dynamic_update_slice(history, s[:, None], (0, t, 0))), s

    start = (jnp.zeros((batch_size, d_hidden)), jnp.zeros((batch_size, seq_length, d_hidden)))
    projected = (x @ c + b).swapaxes(0, 1)
    _, outputs = lax.scan(step, start, (projected, jnp.arange(seq_length)))
    return outputs.swapaxes(0, 1)


def delta(q, k, v, beta, log_decay, state):
    """The delta rule, over steps. With `einsum` it is as fast."""
    batch_size, seq_length, heads, d_key = q.shape

    def in_time(x):
        """[B, T n, H, ...] as [T, n, B, H, ...]"""
        return jnp.moveaxis(x.reshape(batch_size, seq_length, -1, *x.shape[2:]), 0, 2)

    def step(s, inputs):
        q_t, keys, values, betas, decay = inputs
        if decay is not None:
            s = decay * s
        for k_i, v_i, b in zip(keys, values, betas):
            error = v_i - (k_i[..., None] * s).sum(-2)
            s = s + (b[..., None] * k_i)[..., None] * error[..., None, :]
        return s, (q_t[..., None] * s).sum(-2)

    decays = None
    if log_decay is not None:
        decays = jnp.exp(log_decay).reshape(batch_size, seq_length, heads, -1, 1).swapaxes(0, 1)
    queries = (q / d_key**0.5).swapaxes(0, 1)
    _, outputs = lax.scan(step, state, (queries, in_time(k), in_time(v), in_time(beta), decays))
    return outputs.swapaxes(0, 1)


def prepare_delta(sizes):
    inputs = {name: jnp.asarray(a) for name, a in protocol.delta_inputs(sizes).items() if a is not None}

    @jax.jit
    def both(inputs):
        output, pull = jax.vjp(lambda inputs: delta(**{"log_decay": None} | inputs), inputs)
        return output, *pull(jnp.ones_like(output))

    def call():
        return jax.block_until_ready(both(inputs))

    def fingerprint():
        output, gradients = call()
        return protocol.fingerprint(output, jnp.concatenate([gradients[name].ravel() for name in inputs]))

    call.fingerprint = fingerprint
    return call


def prepare(variant, sizes, device):
    assert device == "cpu", "JAX is compared on the CPU alone"
    if variant == "jax-steps":
        return prepare_delta(sizes)
    function = {"jax-matrix": matrix, "jax-attention": attention}[variant]
    x = jnp.asarray(protocol.inputs(sizes))
    parameters = [jnp.asarray(p) for p in protocol.parameters(sizes)]

    @jax.jit
    def both(x, parameters):
        output, pull = jax.vjp(lambda *a: function(*a, sizes["inner_steps"]), x, parameters)
        return output, pull(jnp.ones_like(output))

    def call():
        output, (gradient, others) = jax.block_until_ready(both(x, parameters))
        return output, gradient

    call.fingerprint = lambda: protocol.fingerprint(*call())
    return call


protocol.serve(prepare)
