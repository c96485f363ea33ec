"""Times this library and its peers on the same work, in turns, and writes a table.

Each variant is a process of its own that computes the same from the same numbers, in float32: forward and backward of one
layer, to the gradients of the input and of every parameter (fast-weights, cells), the same of a matrix memory's operation, to
the gradients of all it is given (delta, mlstm, rwkv7), or a step of training of a model that copies: forward, backward and an update by
Adam (ntm, sab). The processes take turns, so that a busy moment of the machine hits all of them; what is reported is the
median over all turns.
"""

import argparse
import json
import os
import platform
import resource
import select
import shlex
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAYER = ["batch_size", "seq_length", "d_input", "d_hidden", "inner_steps"]


def fast_weights_work(batch_size, seq_length, d_input, d_hidden, inner_steps):
    """In the form that needs fewer: attention, or chunks of 32 steps."""
    slow = 3 * d_input * d_hidden + 3 * d_hidden**2
    attention = 6 * d_hidden * (seq_length - 1) / 2 * inner_steps
    chunks = 6 * d_hidden * 31 / 2 * inner_steps + (3 * inner_steps + 2) * d_hidden**2
    return batch_size * seq_length * (slow + min(attention, chunks))


def delta_work(batch_size, seq_length, n_heads, d_key, d_value, _, writes):
    """Step by step: what the memory has for a key, its change and what is read, and for each of these two gradients."""
    return batch_size * seq_length * n_heads * 3 * (2 * writes + 1) * d_key * d_value


def mlstm_work(batch_size, seq_length, n_heads, d_key, d_value):
    """A sum, whose values have a column more."""
    return batch_size * seq_length * n_heads * 3 * 2 * d_key * (d_value + 1)


def rwkv7_work(batch_size, seq_length, n_heads, d_key, d_value):
    """What is read with a and with r, and two writes."""
    return batch_size * seq_length * n_heads * 3 * 4 * d_key * d_value


MEMORY = ["batch_size", "seq_length", "n_heads", "d_key", "d_value"]
MEMORIES = {
    "sizes": MEMORY,
    "columns": "batch, T, heads, d_key, d_value",
    "grid": "32,128,4,32,32;8,512,4,64,64;1,2048,8,64,64;4,4096,4,128,128",
    "check": [[2, 37, 3, 5, 6]],
    "work": "forward and backward",
}

# Ours first. Where a suite has several variants of ours, the ratio is that of the first. `check`: sizes at which all variants
# have to agree, if they start from the same numbers. `large`: lines that a GPU computes as well. `else`: the last sizes, where a
# line leaves them out. `multiply_adds`: how many forward and backward need, in the form that needs fewest.
SUITES = {
    "fast-weights": {
        "sizes": LAYER,
        "columns": "batch, T, d_input, d_hidden, S",
        "grid": "128,11,100,50,1;128,11,100,20,1;128,50,64,64,1;64,100,64,128,1;32,500,64,64,1;8,2000,64,64,1;128,50,64,64,3",
        "large": "1024,100,128,128,1;256,1000,128,128,1",
        "check": [[3, 7, 5, 6, 2]],
        "multiply_adds": fast_weights_work,
        "work": "forward and backward",
        "ours": ["fused", "composed"],
        "peers": ["torch-matrix", "torch-attention", "torch-matrix-compiled", "torch-attention-compiled",
                  "jax-matrix", "jax-attention"],
    },
    "cells": {
        "sizes": LAYER,
        "columns": "batch, T, d_input, d_hidden, S",
        "grid": "128,11,100,50,1;128,50,64,64,1;64,100,64,128,1;32,120,64,128,1;32,784,1,128,1",
        "work": "forward and backward",
        "ours": ["lstm", "gru", "rnn", "slstm", "fused"],
        "peers": ["burn-lstm", "burn-gru", "burn-rnn", "torch-lstm", "torch-gru", "torch-rnn"],
        "rivals": ["burn-lstm", "torch-lstm"],
    },
    "delta": {
        # Decays: the numbers a head has at each step: 0, 1, or d_key.
        "sizes": ["batch_size", "seq_length", "n_heads", "d_key", "d_value", "decays", "writes"],
        "columns": "batch, T, heads, d_key, d_value, decays, writes",
        "else": [1, 1],
        "grid": "32,128,4,32,32;8,512,4,64,64;1,2048,8,64,64;4,4096,4,128,128;"
                "32,128,4,32,32,0;32,128,4,32,32,32;32,128,4,32,32,1,2;"
                "8,512,4,64,64,0;8,512,4,64,64,64;8,512,4,64,64,1,2",
        "check": [[2, 37, 3, 5, 6, 1, 1], [2, 37, 3, 5, 6, 0, 1], [2, 37, 3, 5, 6, 5, 1], [2, 37, 3, 5, 6, 1, 2]],
        "multiply_adds": delta_work,
        "work": "forward and backward",
        "ours": ["delta", "delta-composed"],
        "peers": ["torch-steps", "torch-chunks", "torch-steps-compiled", "torch-chunks-compiled", "jax-steps"],
    },
    "mlstm": MEMORIES | {
        "multiply_adds": mlstm_work,
        "ours": ["mlstm", "mlstm-composed"],
        "peers": ["torch-mlstm-chunks", "torch-mlstm-chunks-compiled"],
    },
    "rwkv7": MEMORIES | {
        "multiply_adds": rwkv7_work,
        "ours": ["rwkv7", "rwkv7-composed"],
        "peers": ["torch-rwkv7-chunks", "torch-rwkv7-chunks-compiled"],
    },
    "ntm": {
        "sizes": ["batch_size", "length"],
        "columns": "batch, length",
        "grid": "1,20;16,20;64,20;1,120;1,2500",
        "large": "1024,20",
        "check": [[3, 4]],
        "work": "a training step (forward, backward, Adam)",
        "ours": ["ntm-fused", "ntm-composed"],
        "peers": ["torch-ntm", "torch-ntm-compiled"],
    },
    "sab": {
        "sizes": ["batch_size", "steps", "d_hidden", "top_k", "attention_interval", "truncation_length"],
        "columns": "batch, T, d_hidden, k_top, k_att, k_trunc",
        "grid": "64,20,128,10,1,10;64,100,128,10,1,10;64,100,128,10,2,10;64,1000,128,10,1,10;1,5000,128,10,1,10",
        "large": "1024,100,128,10,1,10",
        "check": [[3, 30, 16, 5, 1, 5]],
        "work": "a training step (forward, backward, Adam)",
        "ours": ["sab-fused", "sab-composed"],
        "peers": ["torch-sab"],
    },
}


def limit_memory():
    """A process that asks for more than most of the memory fails alone, and is told so."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_DATA, (int(0.75 * total),) * 2)


class Worker:
    """A process that computes one variant at one size. `program` is the worker for variants of ours."""

    def __init__(self, variant, names, sizes, options, program=None):
        kind = variant.split("-")[0]
        command = {
            "torch": [sys.executable, HERE / "worker_torch.py"],
            "jax": [sys.executable, HERE / "worker_jax.py"],
        }.get(kind) or [program or os.environ["FW_BENCH_WORKER"]]
        # PyTorch knows no wgpu: its way to the same GPU is CUDA.
        device = "cuda" if kind == "torch" and options.device == "wgpu" else options.device
        self.request = {"variant": variant, "sizes": dict(zip(names, sizes)), "device": device}
        self.timeout = options.timeout
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            # A GPU's driver asks for more addresses than there is memory.
            preexec_fn=limit_memory if options.device == "cpu" else None,
        )
        first = self.read(time.monotonic() + self.timeout)
        # A peer whose packages are not there ends before it says anything.
        self.times, self.error = [], first.get("error")
        self.base = first.get("peak_mib")
        self.peak = None

    def ask(self, **more):
        """The answer to one request; None after a failure, which `error` then names."""
        if self.error:
            return None
        deadline = time.monotonic() + self.timeout
        self.process.stdin.write(json.dumps(self.request | more) + "\n")
        self.process.stdin.flush()
        answer = self.read(deadline)
        if "error" in answer:
            self.error = answer["error"]
            self.close()
            return None
        self.peak = answer.get("peak_mib")
        return answer

    def read(self, deadline):
        ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return {"error": f"not done after {self.timeout} s"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended (out of memory? a package that is not there?)"}

    def cpu_time(self):
        """What the process has computed so far, where the system tells."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])
        except (OSError, IndexError):
            return 0

    def measure(self, seconds):
        if answer := self.ask(seconds=seconds):
            self.times += answer["ms"]

    def close(self):
        self.process.kill()
        self.process.wait()


def check(suite, options):
    """Every variant computes the same, or the comparison says nothing."""
    for sizes in suite["check"]:
        check_line(sizes, suite, options)


def check_line(sizes, suite, options):
    fingerprints = {}
    for variant in suite["ours"] + suite["peers"]:
        worker = Worker(variant, suite["sizes"], sizes, options)
        answer = worker.ask(check=True)
        worker.close()
        if answer:
            fingerprints[variant] = answer["fingerprint"]
        else:
            print(f"  {variant}: {worker.error}", file=sys.stderr)
    first, expected = next(iter(fingerprints.items()))
    for variant, actual in fingerprints.items():
        for ours, theirs in zip(expected, actual):
            if abs(ours - theirs) > 1e-3 * max(1.0, abs(ours)):
                sys.exit(f"{variant} computes {actual}, {first} computes {expected}: not the same work")


def fma_peak(options):
    """Multiply-adds in float32 that the device makes in a nanosecond: on registers alone, or on a GPU in a large product."""
    if options.device != "cpu" and not nvidia():
        return None
    worker = Worker("fma-peak" if options.device == "cpu" else "torch-fma-peak", [], [], options)
    answers = [worker.ask() for _ in range(3)]
    worker.close()
    return max(answer["peak_gfma"] for answer in answers) if all(answers) else None


def settle(workers):
    """Waits until no process computes any more: some free gigabytes after they have answered."""
    before = None
    for _ in range(100):
        now = [worker.cpu_time() for worker in workers]
        if now == before:
            return
        before = now
        time.sleep(0.1)


def measure_line(sizes, suite, options):
    workers = {}
    for variant in suite["ours"] + suite["peers"]:
        workers[variant] = worker = Worker(variant, suite["sizes"], sizes, options)
        # Compiles, and allocates.
        worker.ask(seconds=0.0)
    for _ in range(options.rounds):
        for worker in workers.values():
            settle(workers.values())
            worker.measure(options.seconds)
    line = {"sizes": dict(zip(suite["sizes"], sizes)), "ms": {}, "calls": {}, "errors": {}, "memory_mib": {}}
    for variant, worker in workers.items():
        if worker.error:
            line["errors"][variant] = worker.error
        else:
            line["ms"][variant] = statistics.median(worker.times)
            line["calls"][variant] = len(worker.times)
            if worker.base and worker.peak and options.device == "cpu":
                line["memory_mib"][variant] = worker.peak - worker.base
            worker.close()
    return line


def summarize(line, suite, peak):
    ours = line["ms"].get(suite["ours"][0])
    if peak and ours and "multiply_adds" in suite:
        line["work_of_peak"] = suite["multiply_adds"](*line["sizes"].values()) / (ours * 1e6) / peak
    rivals = suite.get("rivals", suite["peers"])
    peers = {name: line["ms"][name] for name in rivals if name in line["ms"]}
    if ours and peers:
        fastest = min(peers, key=peers.get)
        line["fastest_peer"], line["ratio"] = fastest, peers[fastest] / ours


def cell(line, variant):
    if variant in line["ms"]:
        return f"{line['ms'][variant]:.3g}" if line["ms"][variant] < 100 else f"{line['ms'][variant]:.0f}"
    return line["errors"].get(variant, "")


def table(lines, suite):
    variants = suite["ours"] + suite["peers"]
    rows = [[suite["columns"], *variants, "fastest peer / " + suite["ours"][0]]]
    for line in lines:
        ratio = f"{line['ratio']:.1f} ({line['fastest_peer']})" if "ratio" in line else ""
        sizes = ", ".join(str(size) for size in line["sizes"].values())
        rows.append([sizes, *(cell(line, variant) for variant in variants), ratio])
    return markdown(rows)


def summary(lines, suite):
    """One column for each kind of peer, with its quickest variant: what the README shows."""
    kinds = {
        "PyTorch eager": lambda name: name.startswith("torch") and "-compiled" not in name,
        "torch.compile": lambda name: "-compiled" in name,
        "JAX": lambda name: name.startswith("jax"),
        "Burn": lambda name: name.startswith("burn"),
    }
    rivals = suite.get("rivals", suite["peers"])
    kinds = {kind: [name for name in rivals if is_kind(name)] for kind, is_kind in kinds.items()}
    kinds = {kind: names for kind, names in kinds.items() if names}
    knows_work = any("work_of_peak" in line for line in lines)
    rows = [[suite["columns"], *suite["ours"], *kinds, "fastest peer / " + suite["ours"][0],
             *(["of the FMA peak"] if knows_work else [])]]
    for line in lines:
        def quickest(names):
            done = [name for name in names if name in line["ms"]]
            return cell(line, min(done, key=line["ms"].get)) if done else cell(line, names[0])
        sizes = ", ".join(str(size) for size in line["sizes"].values())
        rows.append([
            sizes, *(cell(line, name) for name in suite["ours"]), *(quickest(names) for names in kinds.values()),
            f"{line['ratio']:.1f}" if "ratio" in line else "",
            *([f"{100 * line['work_of_peak']:.0f} %"] if knows_work else []),
        ])
    return markdown(rows)


def memory_table(lines, suite):
    variants = suite["ours"] + suite["peers"]
    rows = [[suite["columns"], *variants]]
    for line in lines:
        sizes = ", ".join(str(size) for size in line["sizes"].values())
        memory = line["memory_mib"]
        rows.append([sizes, *(f"{memory[v]:.0f}" if v in memory else "" for v in variants)])
    return markdown(rows)


def markdown(rows):
    text = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([text[0], "|---" + "|---:" * (len(rows[0]) - 1) + "|", *text[1:]]) + "\n"


def read_grid(text, suite):
    """The lines of a grid as lists of sizes."""
    try:
        grid = [[int(size) for size in line.split(",")] for line in text.split(";")]
    except ValueError:
        grid = [[]]
    most, rest = len(suite["sizes"]), suite.get("else", [])
    least = most - len(rest)
    if any(not least <= len(line) <= most for line in grid):
        names = ",".join(suite["sizes"])
        count = f"{least} to {most}" if rest else most
        raise ValueError(f"--grid is {text!r}; it must be lines of {count} whole numbers, {names};...")
    grid = [line + rest[len(line) - least:] for line in grid]
    return grid


def main():
    parser = argparse.ArgumentParser(prog="benches/peers/run", description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="fast-weights")
    parser.add_argument("--device", choices=["cpu", "cuda", "wgpu"], default="cpu", help="what all compute on; a GPU "
                        "adds large lines, and leaves out JAX and the processes' memory; beside wgpu "
                        "PyTorch computes through CUDA, where nvidia-smi knows a GPU")
    parser.add_argument("--grid", help="sizes of each line: " + "; ".join(
        f'{name}: "{suite["grid"]}"' for name, suite in SUITES.items()))
    parser.add_argument("--variants", help="only these, with commas")
    parser.add_argument("--json", type=Path, help="write sizes, medians and ratios here")
    parser.add_argument("--table", type=Path, help="write the tables here, in Markdown; without --grid and --variants, "
                        "the default is benches/peers/results/SUITE.md, or SUITE-cuda.md")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds for a request, compiling included")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="for a variant in a round")
    options = parser.parse_args()

    try:
        suite = SUITES[options.suite]
        if options.device != "cpu":
            peers = ("torch", "burn") if nvidia() else ("burn",)
            suite = suite | {
                "grid": ";".join(filter(None, [suite["grid"], suite.get("large")])),
                "peers": [name for name in suite["peers"] if name.startswith(peers)],
            }
        grid = read_grid(options.grid or suite["grid"], suite)
    except ValueError as error:
        parser.error(str(error))
    if not (options.grid or options.variants):
        on_gpu = "" if options.device == "cpu" else f"-{options.device}"
        options.table = options.table or HERE / "results" / f"{options.suite}{on_gpu}.md"
    if options.variants:
        only = options.variants.split(",")
        suite = suite | {side: [name for name in suite[side] if name in only] for side in ("ours", "peers")}
    if "check" in suite:
        check(suite, options)

    peak = fma_peak(options)
    lines = []
    for sizes in grid:
        line = measure_line(sizes, suite, options)
        summarize(line, suite, peak)
        lines.append(line)
        print(table([line], suite), flush=True)
    threads = len(os.sched_getaffinity(0))
    where = {
        "cpu": f"{threads} threads, {cpu()}",
        "cuda": f"cuda on {nvidia()}",
        "wgpu": f"wgpu; PyTorch through CUDA on {nvidia()}" if nvidia() else "wgpu",
    }[options.device]
    most = f" ({peak:.0f} multiply-adds a nanosecond at most)" if peak else ""
    about = (f"Milliseconds of {suite['work']}, medians; float32, {where}{most}, "
             f"{time.strftime('%Y-%m-%d')}; {versions()}. `benches/peers/run {shlex.join(sys.argv[1:])}`")
    text = f"{about}\n\n{summary(lines, suite)}\nEvery variant:\n\n{table(lines, suite)}"
    if options.device == "cpu":
        text += f"\nPeak memory beyond what the process had before, MiB:\n\n{memory_table(lines, suite)}"
    print(text)
    if options.table:
        options.table.write_text(text)
    if options.json:
        result = {"suite": options.suite, "device": options.device, "where": where, "threads": threads, "cpu": cpu(), "peak_gfma": peak, "versions": versions(), "lines": lines}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def cpu():
    try:
        names = [l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor()


def nvidia():
    """The name of the GPU that PyTorch computes on, as its driver tells; nothing without one."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        return None


def versions():
    """Of the packages that the peers need, as they are here."""
    names = [line.split("==")[0].strip() for line in open(HERE / "requirements.txt")]
    here = {(package.name or "").lower(): package.version for package in metadata.distributions()}
    return ", ".join(f"{name} {here[name]}" for name in names if name in here)


if __name__ == "__main__":
    main()
