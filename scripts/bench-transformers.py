#!/usr/bin/env python3
"""The usual capture pass with Transformers, for comparison with `npm run bench` only: hidden states of the tapped layers as
float16 and the top log-probabilities of every position, of the demo target. Answers each line {"steps": n} with the times of n batches, in
milliseconds on the clock and of processor time. Needs torch and transformers."""
import argparse
import json
import os
import sys
import time

import torch
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
for name in ("batch", "length", "topk"):
    parser.add_argument(f"--{name}", type=int, required=True)
parser.add_argument("--taps", required=True)
parser.add_argument("--threads", type=int, default=os.cpu_count())
options = parser.parse_args()
torch.set_num_threads(options.threads)
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "demo-target")
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
taps = [int(tap) for tap in options.taps.split(",")]
ids = torch.randint(0, model.config.vocab_size, (options.batch, options.length), generator=torch.Generator().manual_seed(3))


@torch.inference_mode()
def capture():
    start, cpu = time.perf_counter(), time.process_time()
    output = model(ids, output_hidden_states=True, use_cache=False)
    features = torch.cat([output.hidden_states[tap + 1] for tap in taps], dim=-1).half()
    best = torch.log_softmax(output.logits, dim=-1).topk(options.topk, dim=-1)
    features.numpy(), best.indices.numpy(), best.values.numpy()
    return (time.perf_counter() - start) * 1000, (time.process_time() - cpu) * 1000


print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    ms, cpu = zip(*(capture() for _ in range(json.loads(line)["steps"])))
    print(json.dumps({"ms": ms, "cpuMs": cpu}), flush=True)
