"""A vLLM plugin that norms the context keys of a DFlash drafter layer by layer.

vLLM norms all layers' context keys in one call, with one weight row a layer (0.32.0, model_executor/models/qwen3_dflash.py, lines 639-649).
Its CUDA kernel picks the row by the layer; the kernel of its CPU build takes row 0 for every layer, so that layers beyond the first get
the first layer's `k_norm`. check-vllm.py loads this file by --repair-context-norm. Needs nothing but vLLM.
"""
import torch


def repair():
    from vllm import _custom_ops as ops
    from vllm.model_executor.models.qwen3_dflash import DFlashQwen3Model

    def normalize_context_k(self, all_k):
        normed = torch.empty_like(all_k)
        for layer, weight in enumerate(self._k_norm_weights):
            ops.rms_norm(normed[layer], all_k[layer], weight, self._rms_norm_eps)
        return normed

    DFlashQwen3Model._normalize_context_k = normalize_context_k
