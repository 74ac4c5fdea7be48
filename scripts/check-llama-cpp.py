#!/usr/bin/env python3
"""Serves an exported drafter by llama.cpp on this machine's CPU and compares with `draftalign evaluate`.

  draftalign evaluate --drafter EXPORTED --target TARGET --prompts NAME=FILE --limit 10 --json evaluation.json
  python scripts/check-llama-cpp.py evaluation.json --source llama_cpp_python-0.3.36/vendor/llama.cpp --server build/bin/llama-server

DFlash came to llama.cpp with its PR 22105. The source distribution of llama-cpp-python (0.3.36 read and run) carries source and converter:
  pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36 && tar xzf llama_cpp_python-0.3.36.tar.gz
  cmake -S llama_cpp_python-0.3.36/vendor/llama.cpp -B build -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_UI=OFF && cmake --build build -j2 --target llama-server
Run the script by a Python with torch, transformers, safetensors and sentencepiece, which the converter needs. Target and drafter are converted to float32 and
served with float32 caches, as draftalign computes. Exit status 1 where a text or the mean accepted length differs.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

from engine_comparison import Server, free_port, read_evaluation, report, serve_prompts

# The converter knows tokenizers by a hash of what they make of one text, and refuses others, such as the demo target's own. Prompts go to
# the server as token ids, so how it would split text does not matter here.
CONVERT = """
import runpy, sys
source = sys.argv[1]
sys.path[:0] = [source, source + "/gguf-py"]
from conversion import base
known = base.TextModel.get_vocab_base_pre
def lenient(self, tokenizer):
    try:
        return known(self, tokenizer)
    except NotImplementedError:
        return "qwen2"
base.TextModel.get_vocab_base_pre = lenient
sys.argv = [source + "/convert_hf_to_gguf.py", *sys.argv[2:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def convert(source, folder, out, *more):
    done = subprocess.run([sys.executable, "-c", CONVERT, source, folder, "--outtype", "f32", "--outfile", out, *more], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"convert_hf_to_gguf.py cannot convert {folder}:\n" + "\n".join(done.stderr.splitlines()[-15:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", help="JSON of `draftalign evaluate`: names the target, the drafter and the prompts")
    parser.add_argument("--source", required=True, help="source tree of llama.cpp, with convert_hf_to_gguf.py")
    parser.add_argument("--server", required=True, help="the built llama-server")
    parser.add_argument("--limit", type=int, help="prompts of each set at most")
    parser.add_argument("--threads", type=int, default=1, help="of the engine (default 1: a small model gains nothing from more, and waiting threads spin)")
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()

    document = read_evaluation(options.evaluation, options.limit)
    settings = document["settings"]
    slots = settings["blockSize"] - 1
    longest = max(len(prompt["promptIds"]) for prompt in document["prompts"]) + settings["maxNewTokens"] + 2 * settings["blockSize"]
    told = subprocess.run([options.server, "--version"], capture_output=True, text=True)
    engine = "llama.cpp " + next((line for line in (told.stdout + told.stderr).splitlines() if line.startswith("version")), "of unknown version")

    def generate(server, prompt_ids):
        answer = server.post("/completion", {"prompt": prompt_ids, "n_predict": settings["maxNewTokens"], "temperature": 0, "cache_prompt": False, "return_tokens": True})
        # The token that ends a text is not among `tokens`.
        ended = answer["stop_type"] == "eos" and not set(answer["tokens"][-1:]) & set(settings["stopTokenIds"])
        return answer["tokens"] + (settings["stopTokenIds"][:1] if ended else [])

    with tempfile.TemporaryDirectory(prefix="draftalign-gguf-") as folder:
        target, drafter = os.path.join(folder, "target.gguf"), os.path.join(folder, "drafter.gguf")
        source = os.path.abspath(options.source)
        convert(source, document["target"]["folder"], target)
        convert(source, document["drafter"]["folder"], drafter, "--target-model-dir", document["target"]["folder"])
        port = free_port()
        command = [
            options.server, "-m", target, "-md", drafter, "--spec-type", "draft-dflash", "--spec-draft-n-max", str(slots), "-c", str(longest), "-np", "1",
            "-ctk", "f32", "-ctv", "f32", "-ctkd", "f32", "-ctvd", "f32", "-t", str(options.threads), "--metrics", "--no-ui", "--cache-ram", "0", "--host", "127.0.0.1", "--port", str(port),
        ]
        with Server(command, port) as server:
            served = serve_prompts(server, document, generate)
    figures = report(engine, document, served, whole_last_round=False)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
