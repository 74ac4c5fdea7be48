"""A DFlash drafter in plain PyTorch, written from its description and read from an exported folder, as a second opinion on ours.

No class of any engine, no cache, no trick: one block at a time over the whole context. Imported by the round-trip test, which feeds it
features and block embeddings and compares the outputs of the last norm.
"""
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


def read_config(folder):
    """The dflash fields of a config.json, of either format."""
    config = json.loads((Path(folder) / "config.json").read_text())
    if "speculators_model_type" in config:
        layers = config["transformer_layer_config"]
        taps = [index - 1 for index in config["aux_hidden_state_layer_ids"]]
        return {**layers, "block_size": config["block_size"], "taps": taps, "mask": config["mask_token_id"]}
    return {**config, "taps": config["dflash_config"]["target_layer_ids"], "mask": config["dflash_config"]["mask_token_id"]}


def inverse_frequencies(config):
    """[head_dim / 2]: plain, linear and llama3 RoPE, from `rope_parameters`."""
    rope = config["rope_parameters"]
    half = torch.arange(0, config["head_dim"], 2, dtype=torch.float64) / config["head_dim"]
    plain = rope["rope_theta"] ** -half
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return plain
    if kind == "linear":
        return plain / rope["factor"]
    assert kind == "llama3", kind
    original, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
    wavelengths = 2 * math.pi / plain
    blend = ((original / wavelengths - low) / (high - low)).clamp(0, 1)
    return (1 - blend) * plain / rope["factor"] + blend * plain


class PlainDrafter:
    def __init__(self, folder, dtype=torch.float32):
        self.config = read_config(folder)
        self.weights = {name: tensor.to(dtype) for name, tensor in load_file(str(Path(folder) / "model.safetensors")).items()}
        self.frequencies = inverse_frequencies(self.config)

    def norm(self, x, name):
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.config["rms_norm_eps"])).to(x.dtype) * self.weights[f"{name}.weight"]

    def linear(self, x, name):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def heads(self, x, name, norm=None):
        """[rows, width] to [heads, rows, head_dim], normed per head where a norm is named."""
        split = self.linear(x, name).unflatten(-1, (-1, self.config["head_dim"]))
        return (self.norm(split, norm) if norm else split).transpose(0, 1)

    def rotate(self, x, positions):
        angles = (positions.double()[:, None] * self.frequencies).repeat(1, 2)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-second, first), dim=-1) * sin

    def block(self, features, embeddings, anchor):
        """features [S, T*D] of which rows before `anchor` are seen, embeddings [K, D] of anchor and masks; returns [K, D] after the last norm."""
        c = self.norm(self.linear(features[:anchor], "fc"), "hidden_norm")
        x = embeddings
        before, own = torch.arange(anchor), torch.arange(anchor, anchor + len(x))
        for i in range(self.config["num_hidden_layers"]):
            at = f"layers.{i}"
            normed = self.norm(x, f"{at}.input_layernorm")
            rows, positions = torch.cat((c, normed)), torch.cat((before, own))
            q = self.rotate(self.heads(normed, f"{at}.self_attn.q_proj", f"{at}.self_attn.q_norm"), own)
            k = self.rotate(self.heads(rows, f"{at}.self_attn.k_proj", f"{at}.self_attn.k_norm"), positions)
            v = self.heads(rows, f"{at}.self_attn.v_proj")
            k, v = (each.repeat_interleave(len(q) // len(each), dim=0) for each in (k, v))
            attention = (q @ k.transpose(1, 2) / math.sqrt(self.config["head_dim"])).float().softmax(-1).to(x.dtype)
            x = x + self.linear((attention @ v).transpose(0, 1).flatten(1), f"{at}.self_attn.o_proj")
            normed = self.norm(x, f"{at}.post_attention_layernorm")
            x = x + self.linear(F.silu(self.linear(normed, f"{at}.mlp.gate_proj")) * self.linear(normed, f"{at}.mlp.up_proj"), f"{at}.mlp.down_proj")
        return self.norm(x, "norm")
