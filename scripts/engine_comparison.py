"""What a serving engine does with an exported drafter, beside what `draftalign evaluate --json` measured.

Shared by check-vllm.py and check-llama-cpp.py; standard library only. A script starts the engine's own HTTP server on this machine,
sends the evaluation's prompts (token ids) one at a time, greedily, and reads the engine's own counters before and after each.
Both engines count alike: a *draft* is one round, its *accepted tokens* are drafts that the target agreed with. So accepted tokens plus one
is the accepted length that draftalign reports; only the last round of a text is counted differently, see `own_counts`.
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

TOLERANCE = 0.02  # of the mean accepted length


@dataclass
class Counts:
    """Rounds, and for each slot the rounds in which it and all before it were accepted."""
    rounds: int
    accepted: list

    def __sub__(self, other):
        before = other.accepted + [0] * (len(self.accepted) - len(other.accepted))
        return Counts(self.rounds - other.rounds, [a - b for a, b in zip(self.accepted, before)])

    def __add__(self, other):
        width = max(len(self.accepted), len(other.accepted))
        pad = lambda values: values + [0] * (width - len(values))
        return Counts(self.rounds + other.rounds, [a + b for a, b in zip(pad(self.accepted), pad(other.accepted))])

    @property
    def accepted_length(self):
        return 1 + sum(self.accepted) / self.rounds if self.rounds else float("nan")


def read_evaluation(path, limit=None):
    """The document of `draftalign evaluate --json`, its prompts cut to the first `limit` of each set."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    if document.get("format") != "draftalign-evaluation":
        sys.exit(f"{path} is not the JSON of `draftalign evaluate --json`: `format` is {document.get('format')!r}.")
    settings = document["settings"]
    wrong = [f"{name} is {settings[name]}, expected {wanted}" for name, wanted in (("temperature", 0), ("treeNodes", 0)) if settings[name] != wanted]
    if wrong:
        sys.exit(f"{path}: only greedy decoding of single chains can be compared: {'; '.join(wrong)}.")
    if settings["blockSize"] != document["drafter"]["blockSize"]:
        sys.exit(f"{path}: evaluated with a block size of {settings['blockSize']}; the drafter's own is {document['drafter']['blockSize']}.")
    taken = {}
    prompts = []
    for prompt in document["prompts"]:
        taken[prompt["set"]] = taken.get(prompt["set"], 0) + 1
        if limit is None or taken[prompt["set"]] <= limit:
            prompts.append(prompt)
    document["prompts"] = prompts
    return document


def own_counts(prompt, settings, whole_last_round):
    """The evaluation's rounds of one text, counted as engines count them: not the round whose anchor already ends the text, and the
    last round whole (vLLM), or only as far as the text goes and not at all where one token is left to write (llama.cpp)."""
    limit, length = settings["maxNewTokens"], len(prompt["outputIds"])
    written, rounds, accepted = 1, 0, [0] * (settings["blockSize"] - 1)
    for committed in prompt["acceptedLengths"]:
        # A text whose very first token ends it has a round all the same.
        if written >= length or (not whole_last_round and limit - written == 1):
            break
        rounds += 1
        for slot in range((committed if whole_last_round else min(committed, length - written)) - 1):
            accepted[slot] += 1
        written += committed
    return Counts(rounds, accepted)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The engine's server as a child process on 127.0.0.1; ends with the `with` block."""

    def __init__(self, command, port, environment=None, patience=600):
        self.command, self.url, self.patience = command, f"http://127.0.0.1:{port}", patience
        self.environment = {**os.environ, **(environment or {})}

    def __enter__(self):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log", prefix="engine-", delete=False)
        print("$ " + " ".join(part if re.fullmatch(r"[\w./:=@%+,-]+", part) else "'" + part + "'" for part in self.command), flush=True)
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=subprocess.STDOUT, env=self.environment, start_new_session=True)
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def wait(self):
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            if self.process.poll() is not None:
                sys.exit(f"the server ended with status {self.process.returncode} before it was ready; its last words ({self.log.name}):\n{self.tail()}")
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(1)
        sys.exit(f"the server was not ready after {self.patience} s; its last words ({self.log.name}):\n{self.tail()}")

    def tail(self, lines=25):
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])

    def stop(self):
        # The server leads a process group of its own, and ends with all its workers.
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def __exit__(self, *_):
        self.stop()

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            sys.exit(f"{path}: HTTP {error.code} {error.read().decode(errors='replace')[:500]}\n{self.tail()}")

    def counts(self):
        """The engine's counters of speculative decoding since its start."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=60) as answer:
            text = answer.read().decode()
        rounds = re.search(r"^\w+:spec_decode_num_drafts_total(?:\{[^}]*\})? ([\d.e+]+)$", text, re.M)
        slots = re.findall(r'^\w+:spec_decode_num_accepted_tokens_per_pos_total\{[^}]*position="(\d+)"[^}]*\} ([\d.e+]+)$', text, re.M)
        if rounds is None:
            sys.exit(f"{self.url}/metrics has no spec_decode_num_drafts_total: the server does not decode speculatively.")
        by_slot = {int(slot): int(float(count)) for slot, count in slots}
        return Counts(int(float(rounds.group(1))), [by_slot.get(slot, 0) for slot in range(max(by_slot, default=-1) + 1)])


def serve_prompts(server, document, generate):
    """Decodes every prompt by `generate(server, prompt_ids) -> output ids`; returns [(output ids, counts)]."""
    served = []
    for number, prompt in enumerate(document["prompts"]):
        before = server.counts()
        ids = generate(server, prompt["promptIds"])
        served.append((ids, server.counts() - before))
        print(f"\r{number + 1} of {len(document['prompts'])} prompts", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return served


def report(engine, document, served, whole_last_round):
    """Prints both sides; returns the figures, with `ok`."""
    settings, prompts = document["settings"], document["prompts"]
    ours = [own_counts(prompt, settings, whole_last_round) for prompt in prompts]
    different = []
    for prompt, (ids, _) in zip(prompts, served):
        if ids != prompt["outputIds"]:
            at = next((i for i, (a, b) in enumerate(zip(ids, prompt["outputIds"])) if a != b), min(len(ids), len(prompt["outputIds"])))
            different.append(f"{prompt['set']}/{prompt['id']}: new token {at} of {len(prompt['outputIds'])} is {ids[at:at + 1]}, ours {prompt['outputIds'][at:at + 1]}")
    figures = {"engine": engine, "sets": {}, "texts": len(prompts), "texts_equal": len(prompts) - len(different)}
    print(f"\n{engine}, greedy, {len(prompts)} prompts, block size {settings['blockSize']}")
    print(f"{'prompts':<12}{'texts':>6}{'equal':>7}{'rounds':>9}{'draftalign':>12}{'engine':>9}{'difference':>12}{'rounds alike':>14}")
    names = list(dict.fromkeys(prompt["set"] for prompt in prompts))
    for name in [*names, "all"]:
        chosen = [i for i, prompt in enumerate(prompts) if name in (prompt["set"], "all")]
        own, other = sum((ours[i] for i in chosen), Counts(0, [])), sum((served[i][1] for i in chosen), Counts(0, []))
        equal = sum(served[i][0] == prompts[i]["outputIds"] for i in chosen)
        alike = sum(ours[i] == served[i][1] for i in chosen)
        difference = other.accepted_length / own.accepted_length - 1
        print(f"{name:<12}{len(chosen):>6}{equal:>7}{other.rounds:>9}{own.accepted_length:>12.3f}{other.accepted_length:>9.3f}{difference:>+12.2%}{alike:>7} of {len(chosen)}")
        figures["sets"][name] = {"texts": len(chosen), "equal": equal, "rounds": [own.rounds, other.rounds], "accepted_length": [own.accepted_length, other.accepted_length], "texts_with_equal_rounds": alike}
    print("\nslot        " + "".join(f"{slot:>7}" for slot in range(1, settings["blockSize"])))
    figures["survival"] = {}
    for label, total in (("draftalign", own), ("engine", other)):
        shares = [accepted / total.rounds for accepted in total.accepted]
        figures["survival"][label] = shares
        print(f"{label:<12}" + "".join(f"{share:>7.1%}" for share in shares))
    for line in different:
        print(f"  differs: {line}")
    figures["ok"] = not different and abs(difference) <= TOLERANCE
    print(f"\n{'passed' if figures['ok'] else 'FAILED'}: {figures['texts_equal']} of {len(prompts)} texts equal, mean accepted length {difference:+.2%} (allowed ±{TOLERANCE:.0%})")
    return figures
