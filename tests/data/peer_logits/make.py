"""Logits of quantized checkpoints as transformers runs them on a CPU, for tests/evaluate/test_peers.py.

Run once, in an environment with compressed-tensors, accelerate and torchao, which the tests need not have:

    QINSPECT_FIXTURES=... python tests/data/peer_logits/make.py
"""

import importlib.metadata
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
N_LAST = 4
MODELS = {
    "ct_int8_w8a8_static": torch.float32, "ct_fp8_static": torch.float32, "ct_fp8_dynamic": torch.float32,
    "ct_w4a16_g128": torch.float32, "ct_awq_w4a16_asym": torch.float32, "ct_int8_w8a8": torch.float32,
    "ct_attn_head_kv": torch.float32, "tf_bitnet": torch.float32, "tf_mxfp8_u8": torch.float32,
    "torchao_fp8wo": torch.bfloat16,
}  # fmt: skip


def without_queries() -> None:
    """compressed-tensors rounds queries too; the scales of ct_attn_head_kv for them were never set, and are none."""
    from compressed_tensors.modeling import attention

    attention.getattr_chain = lambda *_: None


def main() -> None:
    """Of 32 tokens the logits of the last N_LAST, as float32."""
    ids = torch.randint(0, 256, (1, 32), generator=torch.Generator().manual_seed(0))
    without_queries()
    made = {"ids": ids}
    for name, dtype in MODELS.items():
        folder = Path(os.environ["QINSPECT_FIXTURES"]) / name / "model"
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
        with torch.inference_mode():
            model(ids, use_cache=False)  # compressed-tensors dequantizes in the first forward
            made[name] = model(ids, use_cache=False).logits[0, -N_LAST:].float().clone()
    packages = ("torch", "transformers", "compressed-tensors", "torchao", "accelerate")
    save_file(made, HERE / "logits.safetensors", {p: importlib.metadata.version(p) for p in packages})


if __name__ == "__main__":
    main()
