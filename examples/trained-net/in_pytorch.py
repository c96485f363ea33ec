"""The same file in plain PyTorch: fast weights (Ba et al. 2016) that fw-train has trained.

    pip install torch safetensors
    python examples/trained-net/in_pytorch.py crates/fw-train/pretrained/fast-weights-retrieval.safetensors c9k8j3f1??c

prints the logits of each question as JSON. Matrices lie in the file as [d_input, d_output].
"""

import json
import sys

import torch
from safetensors import safe_open


def load(path):
    """The tensors and the configuration of a file."""
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["fw-core"])
        assert told["kind"] == "sequence-model", told["kind"]
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(told["config"])


def logits(weights, config, tokens):
    """z = x C + h W + b; h = relu(LN(z)), then inner steps of relu(LN(z + A h)); A <- decay A + rate h h'."""
    layer = config["layer"]["fast-weights"]
    assert layer["activation"] == "relu" and layer["write"] == "final" and layer["layer_norm"], layer
    gain, bias = weights["layer.norm.gamma"], weights["layer.norm.beta"]

    def activation(z):
        return torch.relu(torch.nn.functional.layer_norm(z, z.shape[-1:], gain, bias, layer["epsilon"]))

    hidden = torch.zeros(len(gain))
    memory = torch.zeros(len(gain), len(gain))
    for x in torch.relu(weights["embedding.weight"][tokens]):
        z = x @ weights["layer.input.weight"] + weights["layer.input.bias"] + hidden @ weights["layer.w_hidden"]
        hidden = activation(z) if layer["normalize_preliminary"] else torch.relu(z)
        for _ in range(layer["inner_steps"]):
            hidden = activation(z + memory @ hidden)
        memory = layer["decay"] * memory + layer["fast_learning_rate"] * torch.outer(hidden, hidden)
    if "head.weight" in weights:
        hidden = torch.relu(hidden @ weights["head.weight"] + weights["head.bias"])
    return hidden @ weights["output.weight"] + weights["output.bias"]


if __name__ == "__main__":
    weights, config = load(sys.argv[1])
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789?"
    for question in sys.argv[2:]:
        tokens = torch.tensor([alphabet.index(character) for character in question])
        print(json.dumps({"question": question, "logits": logits(weights, config, tokens).tolist()}))
