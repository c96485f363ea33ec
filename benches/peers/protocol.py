"""What the workers share: requests and answers as lines of JSON, the numbers of the check, the clock."""

import json
import resource
import sys
import time

import numpy as np

# The configuration that all sides run: that of FastWeightsConfig's defaults.
DECAY, RATE, EPSILON = 0.95, 0.5, 1e-5
# Of the Neural Turing Machine: memory, controller, bits.
SLOTS, WORD, CONTROLLER, BITS, SHIFTS = 128, 20, 100, 8, 3
# Of copy memory: symbols to copy, and tokens (eight symbols, one to wait, one to ask for the copy).
SYMBOLS, TOKENS = 10, 10
LEARNING_RATE = 1e-3


def wave(frequency, *shape):
    """Numbers that every language makes alike: sin(frequency * index)."""
    count = int(np.prod(shape))
    return np.sin(frequency * np.arange(count)).reshape(shape).astype(np.float32)


def parameters(sizes):
    """C, b, W, gain and bias of the normalisation."""
    d_input, d_hidden = sizes["d_input"], sizes["d_hidden"]
    return [
        0.3 * wave(0.7, d_input, d_hidden),
        0.1 * wave(1.1, d_hidden),
        0.05 * np.eye(d_hidden, dtype=np.float32),
        0.5 + 0.1 * wave(1.3, d_hidden),
        0.1 * wave(1.7, d_hidden),
    ]


def inputs(sizes):
    return wave(0.9, sizes["batch_size"], sizes["seq_length"], sizes["d_input"])


def ntm_parameters():
    addressing = WORD + 3 + SHIFTS
    return {
        "w_input": 0.1 * wave(0.7, BITS + 1 + WORD, 4 * CONTROLLER),
        "b": 0.1 * wave(1.1, 4 * CONTROLLER),
        "w_hidden": 0.1 * wave(1.3, CONTROLLER, 4 * CONTROLLER),
        "w_read": 0.3 * wave(1.7, CONTROLLER, addressing),
        "b_read": 0.1 * wave(1.7, addressing),
        "w_write": 0.3 * wave(1.9, CONTROLLER, addressing + 2 * WORD),
        "b_write": 0.1 * wave(1.9, addressing + 2 * WORD),
        "memory": 0.1 * wave(2.3, SLOTS, WORD),
        "w_output": 0.3 * wave(2.9, CONTROLLER + WORD, BITS),
        "b_output": 0.1 * wave(3.1, BITS),
        # What is learned of the start begins at zero.
        "h0": np.zeros((1, CONTROLLER), np.float32),
        "c0": np.zeros((1, CONTROLLER), np.float32),
        "r0": np.zeros((1, WORD), np.float32),
    }


def ntm_copy(sizes):
    """Bits, a mark, silence; and the bits, which are the answer to the silence."""
    batch_size, length = sizes["batch_size"], sizes["length"]
    bits = (wave(0.9, batch_size, length, BITS) > 0).astype(np.float32)
    x = np.zeros((batch_size, 2 * length + 1, BITS + 1), np.float32)
    x[:, :length, :BITS] = bits
    x[:, length, BITS] = 1
    return x, bits


def sab_parameters(sizes):
    d_hidden = sizes["d_hidden"]
    return {
        "w_input": 0.3 * wave(0.7, TOKENS, 4 * d_hidden),
        "b": 0.1 * wave(1.1, 4 * d_hidden),
        "w_hidden": 0.1 * wave(1.3, d_hidden, 4 * d_hidden),
        "w_query": 0.3 * wave(1.7, d_hidden, d_hidden),
        "w_key": 0.3 * wave(1.9, d_hidden, d_hidden),
        "v": 0.3 * wave(2.3, d_hidden),
        "w_output": 0.3 * wave(2.9, 2 * d_hidden, TOKENS),
        "b_output": 0.1 * wave(3.1, TOKENS),
    }


def sab_copy(sizes):
    """Symbols, a wait, a token that asks for them; the answer waits, and then repeats them."""
    batch_size, steps = sizes["batch_size"], sizes["steps"]
    symbols = np.minimum(np.floor((wave(0.9, batch_size, SYMBOLS) + np.float32(1)) * 4), 7).astype(np.int64)
    tokens = np.full((batch_size, 2 * SYMBOLS + steps), 8)
    answers = tokens.copy()
    tokens[:, :SYMBOLS] = answers[:, SYMBOLS + steps:] = symbols
    tokens[:, SYMBOLS + steps - 1] = 9
    return np.eye(TOKENS, dtype=np.float32)[tokens], answers


def scattered(frequency, *shape):
    """Of squares of the index, modulo a prime: rows of `wave` all lie in one plane, these do not."""
    squares = np.arange(int(np.prod(shape))) ** 2 % 65521
    return np.sin(frequency * squares).reshape(shape).astype(np.float32)


def delta_inputs(sizes):
    """q, k (of unit length), v, beta in (0, 1), log decays in (-0.5, 0), if there are any, and the start state."""
    batch_size, seq_length, heads = sizes["batch_size"], sizes["seq_length"], sizes["n_heads"]
    d_key, d_value = sizes["d_key"], sizes["d_value"]
    written = seq_length * sizes["writes"]
    k = scattered(1.1, batch_size, written, heads, d_key)
    decays = {0: None, 1: (), d_key: (d_key,)}[sizes["decays"]]
    return {
        "q": wave(0.9, batch_size, seq_length, heads, d_key),
        "k": k / np.sqrt((k**2).sum(-1, keepdims=True)),
        "v": wave(1.3, batch_size, written, heads, d_value),
        "beta": 0.5 + 0.4 * wave(1.7, batch_size, written, heads),
        "log_decay": None if decays is None else -0.25 + 0.2 * wave(1.9, batch_size, seq_length, heads, *decays),
        "state": 0.1 * wave(2.3, batch_size, heads, d_key, d_value),
    }


def mlstm_inputs(sizes):
    """q, k, v, the gates before their functions, and C with n as its last column."""
    rows = [sizes["batch_size"], sizes["seq_length"], sizes["n_heads"]]
    d_key, d_value = sizes["d_key"], sizes["d_value"]
    return {
        "q": wave(0.9, *rows, d_key),
        "k": wave(1.1, *rows, d_key),
        "v": wave(1.3, *rows, d_value),
        "input_gate": 2 * wave(1.7, *rows),
        "forget_gate": 3 + wave(1.9, *rows),
        "memory": 0.1 * wave(2.3, rows[0], rows[2], d_key, d_value + 1),
    }


def rwkv7_inputs(sizes):
    """r, w, k, v, a (of unit length), b and the start state."""
    rows = [sizes["batch_size"], sizes["seq_length"], sizes["n_heads"]]
    d_key, d_value = sizes["d_key"], sizes["d_value"]
    a = scattered(1.1, *rows, d_key)
    a = a / np.sqrt((a**2).sum(-1, keepdims=True))
    return {
        "r": wave(0.9, *rows, d_key),
        "w": -0.25 + 0.2 * wave(1.9, *rows, d_key),
        "k": 0.2 * wave(1.5, *rows, d_key),
        "v": wave(1.3, *rows, d_value),
        "a": -a,
        "b": a * (0.5 + 0.4 * wave(1.7, *rows, d_key)),
        "state": 0.1 * wave(2.3, rows[0], rows[2], d_key, d_value),
    }


def fingerprint(output, gradient):
    """Two numbers that depend on every output and on every gradient of the input."""
    output, gradient = np.asarray(output, np.float64).ravel(), np.asarray(gradient, np.float64).ravel()
    return [float(output @ wave(0.3, output.size)), float(gradient @ wave(0.3, gradient.size))]


def clock(call, seconds):
    """Milliseconds of each call that fits, at least one."""
    end = time.perf_counter() + seconds
    times = []
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def peak():
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(prepare, fma_peak=None):
    """Answers requests for ever. `prepare(variant, sizes, device)` gives a function without arguments that does the work, to its end; its
    `fingerprint`, called before anything else, gives two numbers that all variants must agree on."""
    calls = {}
    print(json.dumps({"peak_mib": peak()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["variant"].endswith("-peak"):
                print(json.dumps({"peak_gfma": fma_peak()}), flush=True)
                continue
            key = json.dumps([request["variant"], request["sizes"]])
            if key not in calls:
                calls = {key: prepare(request["variant"], request["sizes"], request["device"])}
                if not request.get("check"):
                    calls[key]()
            if request.get("check"):
                answer = {"fingerprint": calls[key].fingerprint()}
            else:
                answer = {"ms": clock(calls[key], request["seconds"]), "peak_mib": peak()}
        except Exception as error:  # whatever a peer fails with goes into the table
            text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            answer = {"error": "out of memory" if "allocate memory" in text else text}
        print(json.dumps(answer), flush=True)
