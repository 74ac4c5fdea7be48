"""Runs an exported drafter in Python for the round-trip test: round_trip.py KIND FOLDER INPUTS OUTPUTS [DTYPE].

KIND `plain` is plain_drafter.py, `speculators` the classes of vLLM's library of that name, `config` transformers' loading of config.json.
INPUTS holds features [S, T*D], embedding [V, D], tokens [S], anchors [N]; OUTPUTS gets `hidden` [N, K, D].
"""
import json
import sys

import torch
from safetensors.torch import load_file, save_file


def run_plain(folder, inputs, dtype):
    from plain_drafter import PlainDrafter

    drafter = PlainDrafter(folder, dtype)
    embedding, features, mask = inputs["embedding"].to(dtype), inputs["features"].to(dtype), drafter.config["mask"]
    blocks = []
    for anchor in inputs["anchors"].tolist():
        ids = [int(inputs["tokens"][anchor])] + [mask] * (drafter.config["block_size"] - 1)
        blocks.append(drafter.block(features, embedding[ids], anchor))
    return torch.stack(blocks)


def run_speculators(folder, inputs, dtype):
    from speculators import SpeculatorModel
    from speculators.models.dflash import core

    anchors, length = inputs["anchors"].long(), len(inputs["tokens"])
    # The library draws anchors at random; these are the test's. Everything else, the mask too, is its own.
    core.select_anchors = lambda loss_mask, count, block_size: (anchors, torch.ones(len(anchors), dtype=torch.bool))
    config = json.loads(open(f"{folder}/config.json", encoding="utf-8").read())
    model_config = core.DFlashSpeculatorConfig.from_pretrained(folder)
    model_config.transformer_layer_config._attn_implementation = "eager"
    model, loading = SpeculatorModel.from_pretrained(folder, config=model_config, output_loading_info=True)
    assert not loading["unexpected_keys"] and not loading["mismatched_keys"], loading
    # What the library fills in from the verifier, and nothing of the drafter's own, may be missing.
    owned = {"embed_tokens.weight", "lm_head.weight", "verifier_lm_head.weight", "verifier_norm.weight", "t2d", "d2t"}
    assert set(loading["missing_keys"]) <= owned, loading["missing_keys"]
    model = model.to(dtype).eval()
    with torch.no_grad():
        model.embed_tokens.weight.copy_(inputs["embedding"])
        hidden, *_ = model._backbone_forward(
            inputs["features"].to(dtype)[None], inputs["tokens"].long()[None], torch.ones(1, length), torch.zeros(1, length, model_config.transformer_layer_config.hidden_size, dtype=dtype),
            torch.zeros(1, length, dtype=torch.long), max_anchors=len(anchors),
        )
    return hidden.view(len(anchors), config["block_size"], -1)


def main():
    kind, folder, inputs, outputs, *dtype = sys.argv[1:]
    if kind == "config":
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder)
        names = ["block_size", "dflash_config", "head_dim", "hidden_size", "num_target_layers", "rope_parameters", "layer_types", "num_hidden_layers", "vocab_size", "tie_word_embeddings", "attention_bias"]
        print(json.dumps({"class": type(config).__name__, **{name: getattr(config, name) for name in names}}))
        return
    with torch.no_grad():
        hidden = {"plain": run_plain, "speculators": run_speculators}[kind](folder, load_file(inputs), getattr(torch, dtype[0] if dtype else "float32"))
    save_file({"hidden": hidden.float().contiguous()}, outputs)


if __name__ == "__main__":
    main()
