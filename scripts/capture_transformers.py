#!/usr/bin/env python3
"""Captures a target's features with Transformers into the Arrow cache that draftalign trains from: for targets too large for one's own machine.

  draftalign prepare --target MODEL-FOLDER --input conversations.jsonl --out tokens         anywhere
  python capture_transformers.py --target ORG/MODEL --tokens tokens --out cache --taps 5    on a machine with GPUs
  draftalign train --config run.yaml --set data.cache=cache                                 anywhere

The cache is specified in docs/arrow-cache.md. Needs torch, transformers (and accelerate for more than one GPU), pyarrow, numpy. Computes in bfloat16,
stores float16. `--part i/n` lets n machines fill one folder. A shard appears whole or not at all, the manifest last.
"""
import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM

SHARD_BYTES = 1 << 30
BATCH_BYTES = 16 << 20


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def read_tokens(folder):
    """Schema metadata and rows (dicts of numpy arrays and values) of a folder that `draftalign prepare` wrote."""
    names = sorted(path.name for path in Path(folder).glob("manifest*.json"))
    if not names:
        sys.exit(f"{folder} has no manifest.json: give the folder that `draftalign prepare` wrote.")
    rows, metadata = [], None
    for name in names:
        manifest = json.loads((Path(folder) / name).read_text())
        metadata = manifest["metadata"]
        for shard in manifest["shards"]:
            table = pa.ipc.open_file(pa.memory_map(str(Path(folder) / shard["file"]))).read_all()
            for i in range(table.num_rows):
                row = {"input_ids": table["input_ids"][i].values.to_numpy(), "loss_mask": table["loss_mask"][i].values.to_numpy()}
                row.update({name: table[name][i].as_py() for name in ("domain", "prompt_length") if name in table.column_names})
                rows.append(row)
    return metadata, rows


def choose_taps(wanted, layers):
    """Layers named (`1,8,14`), or that many spread as DFlash spreads them."""
    if "," in wanted:
        taps = [int(tap) for tap in wanted.split(",")]
    else:
        count = int(wanted)
        taps = [layers // 2] if count == 1 else [round(1 + i * (layers - 4) / (count - 1)) for i in range(count)]
    if any(not 0 <= tap < layers for tap in taps) or taps != sorted(set(taps)):
        sys.exit(f"taps {taps} do not fit: name different layers in ascending order, 0 to {layers - 1}.")
    return taps


def fingerprint(folder):
    """SHA-256 over the SHA-256 digests of the safetensors files in the order of their names; None where there are none."""
    files = sorted(Path(folder).glob("*.safetensors"))
    digests = [sha256(path) for path in files]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else None


def model_folder(target):
    if os.path.isdir(target):
        return target
    from huggingface_hub import snapshot_download

    return snapshot_download(target, allow_patterns=["*.safetensors", "*.json"])


class Capture:
    """The target with a hook on every tapped layer: what they give out, without keeping the other layers' states."""

    def __init__(self, model, taps, top_k):
        self.model, self.top_k, self.states = model, top_k, {}
        layers = model.get_decoder().layers
        for tap in taps:
            layers[tap].register_forward_hook(self.keeper(tap))
        self.taps = taps

    def keeper(self, tap):
        def keep(_module, _inputs, output):
            self.states[tap] = output[0] if isinstance(output, tuple) else output
        return keep

    @torch.inference_mode()
    def __call__(self, sequences):
        """For each sequence [S]: features [S, T*D] and, with top_k, ids [S, k] and log-probabilities [S, k]."""
        longest = max(len(ids) for ids in sequences)
        ids = torch.zeros(len(sequences), longest, dtype=torch.long)
        seen = torch.zeros_like(ids)
        for i, sequence in enumerate(sequences):
            # Padding stands behind, where causal attention never looks.
            ids[i, : len(sequence)], seen[i, : len(sequence)] = torch.from_numpy(sequence.astype(np.int64)), 1
        device = self.model.get_input_embeddings().weight.device
        hidden = self.model.get_decoder()(input_ids=ids.to(device), attention_mask=seen.to(device), use_cache=False).last_hidden_state
        for i, sequence in enumerate(sequences):
            parts = [self.states[tap][i, : len(sequence)].float().cpu() for tap in self.taps]
            best = None
            if self.top_k:
                head = self.model.get_output_embeddings()
                log_probs = head(hidden[i, : len(sequence)].to(head.weight.device)).float().log_softmax(-1).topk(self.top_k)
                best = log_probs.indices.int().cpu().numpy(), log_probs.values.cpu().numpy()
            yield torch.cat(parts, -1).numpy(), best
        self.states.clear()


class Writer:
    """Shards of record batches, as docs/arrow-cache.md describes them."""

    def __init__(self, folder, schema, metadata, part, feature_type):
        self.folder, self.schema, self.metadata, self.part, self.feature_type = Path(folder), schema, metadata, part, feature_type
        self.shards, self.rows, self.bytes, self.sink = [], [], 0, None

    def append(self, row):
        if not np.isfinite(row["features"]).all():
            sys.exit("a feature is not finite in float16 (it is beyond 65504): use --features float32, or other taps.")
        self.rows.append(row)
        self.bytes += row["features"].nbytes
        if self.bytes >= BATCH_BYTES:
            self.flush()

    def flush(self):
        if not self.rows:
            return
        offsets = np.cumsum([0] + [len(row["input_ids"]) for row in self.rows]).astype(np.int32)
        columns = []
        for field in self.schema:
            values = [row[field.name] for row in self.rows]
            if not pa.types.is_list(field.type):
                columns.append(pa.array(values, field.type))
                continue
            flat = np.concatenate(values)
            inner = field.type.value_type
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel(), inner.value_type), inner.list_size) if pa.types.is_fixed_size_list(inner) else pa.array(flat, inner)
            columns.append(pa.ListArray.from_arrays(pa.array(offsets), vectors))
        if self.sink is None:
            prefix = "" if self.part[1] == 1 else f"part-{self.part[0]:05}-of-{self.part[1]:05}-"
            self.name = f"{prefix}shard-{len(self.shards):05}.arrow"
            self.sink = pa.OSFile(str(self.folder / f".{self.name}.tmp"), "wb")
            self.file, self.count = pa.ipc.new_file(self.sink, self.schema), 0
        self.file.write_batch(pa.record_batch(columns, schema=self.schema))
        self.count += len(self.rows)
        self.rows, self.bytes = [], 0
        if self.sink.tell() >= SHARD_BYTES:
            self.close_shard()

    def close_shard(self):
        self.file.close()
        self.sink.close()
        self.sink = None
        path = self.folder / f".{self.name}.tmp"
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        self.shards.append({"file": self.name, "rows": self.count, "bytes": path.stat().st_size, "sha256": sha256(path)})
        os.replace(path, self.folder / self.name)

    def finish(self):
        self.flush()
        if self.sink is not None:
            self.close_shard()
        index, count = self.part
        name = "manifest.json" if count == 1 else f"manifest-{index:05}-of-{count:05}.json"
        manifest = {"format": "draftalign-cache", "metadata": self.metadata, "part": {"index": index, "count": count}, "complete": True, "shards": self.shards}
        (self.folder / f".{name}.tmp").write_text(json.dumps(manifest, indent=1))
        os.replace(self.folder / f".{name}.tmp", self.folder / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True, help="folder or Hugging Face id")
    parser.add_argument("--tokens", required=True, help="folder written by `draftalign prepare`")
    parser.add_argument("--out", required=True)
    parser.add_argument("--taps", default="5", help="layers such as 1,8,14, or how many to spread (default 5)")
    parser.add_argument("--top-k", type=int, default=32, help="log-probabilities stored a position, for losses that distil; 0 stores none")
    parser.add_argument("--batch-tokens", type=int, default=16384, help="tokens of one forward pass, padding counted")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"], help="of the computation")
    parser.add_argument("--features", default="float16", choices=["float16", "float32"], help="how features are stored")
    parser.add_argument("--device", default="auto", help="auto spreads over the GPUs; or cuda:0, cpu, ...")
    parser.add_argument("--part", default="1/1", help="i/n: capture the i-th of n equal parts")
    options = parser.parse_args()

    part = tuple(int(number) for number in options.part.split("/"))
    source, rows = read_tokens(options.tokens)
    rows = rows[len(rows) * (part[0] - 1) // part[1] : len(rows) * part[0] // part[1]]
    if not rows:
        sys.exit(f"{options.tokens} has no rows for part {options.part}.")
    folder = model_folder(options.target)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, options.dtype), device_map=options.device if options.device != "cpu" else None).eval()
    config = model.config.get_text_config()
    if int(max(row["input_ids"].max() for row in rows)) >= config.vocab_size:
        sys.exit(f"{options.tokens} holds token ids beyond the target's vocabulary of {config.vocab_size}: was it prepared with another tokenizer?")
    taps = choose_taps(options.taps, config.num_hidden_layers)
    metadata = {
        "format_version": 1, "target": os.path.basename(os.path.abspath(folder)) if os.path.isdir(options.target) else options.target, "target_fingerprint": fingerprint(folder),
        "tokenizer_fingerprint": source["tokenizer_fingerprint"], "vocab_size": config.vocab_size, "hidden_size": config.hidden_size, "taps": taps, "generation": source["generation"], "source": source["source"],
    }
    number = pa.float16() if options.features == "float16" else pa.float32()
    fields = [("input_ids", pa.list_(pa.int32())), ("loss_mask", pa.list_(pa.uint8())), ("features", pa.list_(pa.list_(number, len(taps) * config.hidden_size)))]
    if options.top_k:
        fields += [("topk_ids", pa.list_(pa.list_(pa.int32(), options.top_k))), ("topk_log_probs", pa.list_(pa.list_(pa.float16(), options.top_k)))]
    if "domain" in rows[0]:
        fields += [("domain", pa.string()), ("prompt_length", pa.int32())]
    Path(options.out).mkdir(parents=True, exist_ok=True)
    if list(Path(options.out).glob("manifest*.json")) and part[1] == 1:
        sys.exit(f"{options.out} holds a cache already; name a new folder, or delete it.")
    writer = Writer(options.out, pa.schema(fields, metadata={"draftalign": json.dumps(metadata)}), metadata, part, options.features)
    capture = Capture(model, taps, options.top_k)

    done, start = 0, 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and max(len(row["input_ids"]) for row in rows[start : end + 1]) * (end + 1 - start) <= options.batch_tokens:
            end += 1
        batch = rows[start:end]
        for row, (features, best) in zip(batch, capture([row["input_ids"] for row in batch])):
            with np.errstate(over="ignore"):
                captured = {**row, "features": features.astype(options.features)}
            if best:
                captured["topk_ids"], captured["topk_log_probs"] = best[0], best[1].astype(np.float16)
            writer.append(captured)
            done += len(row["input_ids"])
        start = end
        print(f"\r{start} of {len(rows)} rows, {done} tokens", end="", file=sys.stderr, flush=True)
    writer.finish()
    print(f"\ncaptured {len(rows)} rows, {done} tokens, taps {taps} to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
