"""What the workers share: requests and answers as lines of JSON, the numbers of the check, the clock."""

import json
import resource
import sys
import time

import numpy as np

# The configuration that all sides run: that of FastWeightsConfig's defaults.
DECAY, RATE, EPSILON = 0.95, 0.5, 1e-5


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


def serve(prepare):
    """Answers requests for ever. `prepare(variant, sizes)` gives a function without arguments that computes, and
    returns output and gradient of the input in a form that `numpy.asarray` takes."""
    calls = {}
    print(json.dumps({"peak_mib": peak()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            key = json.dumps([request["variant"], request["sizes"]])
            if key not in calls:
                calls = {key: prepare(request["variant"], request["sizes"])}
                calls[key]()
            if request.get("check"):
                answer = {"fingerprint": fingerprint(*calls[key]())}
            else:
                answer = {"ms": clock(calls[key], request["seconds"]), "peak_mib": peak()}
        except Exception as error:  # whatever a peer fails with goes into the table
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(answer), flush=True)
