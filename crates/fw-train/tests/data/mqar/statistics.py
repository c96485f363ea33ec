"""Statistics of multi-query recall as Zoology draws it, for the tests of our own generator.

    git clone https://github.com/HazyResearch/zoology && git -C zoology checkout d88d6f5
    python statistics.py zoology > statistics.json     # numpy and torch; seconds

Of each size: the share of samples whose first pair is asked for at the first place, the mean place of every pair's question, and of the tokens between the questions the mean,
as a share of the vocabulary, and how many of them are keys of the same sequence.
"""

import importlib.util
import json
import pathlib
import sys
import types

import torch

N, VOCABULARY, POWER = 20_000, 8192, 0.01

# The generator alone: what it imports for the trainer is not needed.
source = pathlib.Path(sys.argv[1]) / "zoology/data/multiquery_ar.py"
utils = types.ModuleType("zoology.data.utils")
utils.DataSegment = lambda inputs, labels, **rest: types.SimpleNamespace(inputs=inputs, labels=labels)
config = types.ModuleType("zoology.config")
config.DataSegmentConfig = object
sys.modules |= {
    "zoology": types.ModuleType("zoology"),
    "zoology.config": config,
    "zoology.data": types.ModuleType("zoology.data"),
    "zoology.data.utils": utils,
}
spec = importlib.util.spec_from_file_location("multiquery_ar", source)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

sizes = []
for length, pairs in [(64, 4), (64, 16), (256, 16)]:
    torch.manual_seed(0)
    segment = module.multiquery_ar(
        vocab_size=VOCABULARY, num_examples=N, input_seq_len=length, seed=0, power_a=POWER, num_kv_pairs=pairs,
        random_non_queries=True,
    )
    inputs, labels = torch.as_tensor(segment.inputs), torch.as_tensor(segment.labels)
    keys = inputs[:, 0 : 2 * pairs : 2]
    asked = labels != -100
    places, first = [], None
    for pair in range(pairs):
        is_asked = asked & (inputs == keys[:, pair : pair + 1])
        slot = (is_asked.float().argmax(1) - 2 * pairs) // 2
        places.append(slot.float().mean().item())
        if pair == 0:
            first = (slot == 0).float().mean().item()
    behind = torch.arange(length) >= 2 * pairs
    between = behind & ~asked
    fillers = inputs[between].float()
    repeats = (inputs[:, :, None] == keys[:, None, :]).any(2) & between
    sizes.append({
        "length": length,
        "pairs": pairs,
        "first_at_once": first,
        "mean_places": places,
        "mean_filler": fillers.mean().item() / (VOCABULARY - 1),
        "fillers_that_are_keys": repeats.float().sum().item() / N,
    })
print(json.dumps({"samples": N, "vocabulary": VOCABULARY, "power": POWER, "sizes": sizes}, indent=1))
