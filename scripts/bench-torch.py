#!/usr/bin/env python3
"""The usual PyTorch training step of a block-diffusion drafter, for comparison with `npm run bench` only.

Eager PyTorch, one dense boolean mask [N*K, S+N*K] a sequence through scaled_dot_product_attention, all logits at once,
cross-entropy, AdamW, clipping of the global gradient norm. Shapes are those of `scripts/bench-cases.json`.
Reads commands on standard input (one JSON object a line: {"steps": n}) and answers each with the times of n steps in
milliseconds (on the clock, and of all threads' processor time), so that another program can run it alternately with its own steps. Needs torch; nothing else here does.
"""
import argparse
import json
import math
import os
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


def rope(x, cos, sin):
    half = x.shape[-1] // 2
    rotated = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + rotated * sin


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv, self.dim = c["heads"], c["keyValueHeads"], c["headDim"]
        width = c["width"]
        self.q_proj = nn.Linear(width, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(width, self.kv * self.dim, bias=False)
        self.v_proj = nn.Linear(width, self.kv * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, width, bias=False)
        self.q_norm = nn.RMSNorm(self.dim, eps=1e-6)
        self.k_norm = nn.RMSNorm(self.dim, eps=1e-6)

    def forward(self, x, context, cos_q, sin_q, cos_k, sin_k, mask):
        batch, rows, _ = x.shape
        both = torch.cat((context, x), dim=1)
        q = self.q_norm(self.q_proj(x).view(batch, rows, self.heads, self.dim)).transpose(1, 2)
        k = self.k_norm(self.k_proj(both).view(batch, both.shape[1], self.kv, self.dim)).transpose(1, 2)
        v = self.v_proj(both).view(batch, both.shape[1], self.kv, self.dim).transpose(1, 2)
        q, k = rope(q, cos_q, sin_q), rope(k, cos_k, sin_k)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, rows, -1))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, inner = c["width"], c["mlp"]
        self.self_attn = Attention(c)
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)
        self.input_layernorm = nn.RMSNorm(width, eps=1e-6)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=1e-6)

    def forward(self, x, context, *rest):
        x = x + self.self_attn(self.input_layernorm(x), context, *rest)
        y = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


class Drafter(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        width = c["width"]
        self.fc = nn.Linear(c["taps"] * width, width, bias=False)
        self.hidden_norm = nn.RMSNorm(width, eps=1e-6)
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["layers"]))

    def forward(self, features, embedded, anchors):
        c = self.c
        batch, length, _ = features.shape
        count, size = anchors.shape[1], c["blockSize"]
        context = self.hidden_norm(self.fc(features))
        slots = (anchors[:, :, None] + torch.arange(size)).reshape(batch, count * size)
        frequency = 1e6 ** (-torch.arange(0, c["headDim"], 2) / c["headDim"])

        def table(positions):
            angle = positions[..., None].float() * frequency
            angle = torch.cat((angle, angle), dim=-1)[:, None]
            return angle.cos(), angle.sin()

        positions = torch.arange(length).expand(batch, length)
        cos_q, sin_q = table(slots)
        cos_k, sin_k = table(torch.cat((positions, slots), dim=1))
        owner = torch.arange(count).repeat_interleave(size)
        before = torch.arange(length)[None, None, :] < anchors.repeat_interleave(size, dim=1)[:, :, None]
        own = (owner[:, None] == owner[None, :]).expand(batch, -1, -1)
        mask = torch.cat((before, own), dim=-1)[:, None]
        x = embedded
        for layer in self.layers:
            x = layer(x, context, cos_q, sin_q, cos_k, sin_k, mask)
        return self.norm(x)


class Step:
    def __init__(self, c, device):
        torch.manual_seed(0)
        torch.set_default_device(device)
        self.c = c
        self.drafter = Drafter(c)
        self.embedding = torch.randn(c["vocabulary"], c["width"]) * 0.02
        self.optimizer = torch.optim.AdamW(self.drafter.parameters(), lr=1e-3)
        batch, length, count, size = c["batch"], c["context"], c["anchors"], c["blockSize"]
        self.features = torch.randn(batch, length, c["taps"] * c["width"])
        self.anchors = torch.sort(torch.randint(1, length - size, (batch, count)), dim=1).values
        self.tokens = torch.randint(0, c["vocabulary"], (batch, count, size))

    def run(self):
        c = self.c
        start, cpu = time.perf_counter(), time.process_time()
        inputs = self.tokens.clone()
        inputs[:, :, 1:] = 0
        embedded = F.embedding(inputs, self.embedding).reshape(c["batch"], -1, c["width"])
        hidden = self.drafter(self.features, embedded, self.anchors)
        logits = hidden @ self.embedding.T
        logits = logits.view(c["batch"], c["anchors"], c["blockSize"], -1)[:, :, 1:]
        labels = self.tokens[:, :, 1:]
        losses = F.cross_entropy(logits.reshape(-1, c["vocabulary"]), labels.reshape(-1), reduction="none")
        weight = torch.exp(-torch.arange(c["blockSize"] - 1) / 10).expand_as(labels).reshape(-1)
        loss = (losses * weight).sum() / weight.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.drafter.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        if not math.isfinite(value):
            raise RuntimeError(f"the loss is {value}")
        return (time.perf_counter() - start) * 1000, (time.process_time() - cpu) * 1000


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", required=True, help="a case of bench-cases.json")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--tf32", action="store_true", help="let a GPU round the factors of products to TensorFloat-32, as TensorFlow does by default")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high" if options.tf32 else "highest")
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench-cases.json")) as file:
        cases = json.load(file)
    a = torch.randn(64, 64, device=options.device)
    (a @ a).sum().item()
    idle = resident_bytes()
    step = Step(cases[options.case], options.device)
    print(json.dumps({"ready": True, "torch": torch.__version__, "idleBytes": idle}), flush=True)
    for line in sys.stdin:
        times = [step.run() for _ in range(json.loads(line)["steps"])]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        ms, cpu = zip(*times)
        print(json.dumps({"ms": ms, "cpuMs": cpu, "peakBytes": peak}), flush=True)


if __name__ == "__main__":
    main()
