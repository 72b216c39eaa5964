"""Models of a few layers with random weights, saved as transformers saves them, and token ids for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

VOCABULARY = 300
t: Any = transformers  # some of its classes are typed, some are not
_WIDE: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": VOCABULARY}

KINDS: dict[str, Callable[[], Any]] = {
    "llama": lambda: t.LlamaForCausalLM(
        t.LlamaConfig(**_WIDE, intermediate_size=172, num_key_value_heads=2, tie_word_embeddings=True)
    ),
    "bert": lambda: t.BertModel(t.BertConfig(**_WIDE, intermediate_size=96, max_position_embeddings=64)),
    "bert_mlm": lambda: t.BertForMaskedLM(t.BertConfig(**_WIDE, intermediate_size=96, max_position_embeddings=64)),
    "albert": lambda: t.AlbertModel(t.AlbertConfig(**_WIDE, embedding_size=32, intermediate_size=96)),
    "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(n_embd=48, n_layer=1, n_head=4, vocab_size=VOCABULARY)),
    "falcon_mamba": lambda: t.FalconMambaForCausalLM(
        t.FalconMambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=VOCABULARY, state_size=8)
    ),
    "t5": lambda: t.T5ForConditionalGeneration(
        t.T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=VOCABULARY)
    ),
}


def saved_model(folder: Path, kind: str, dtype: torch.dtype = torch.float16) -> Path:
    """One of KINDS, in `folder`."""
    torch.manual_seed(0)
    KINDS[kind]().to(dtype).save_pretrained(folder)
    return folder


def saved_ids(path: Path, lengths: Sequence[int], vocabulary: int = VOCABULARY) -> Path:
    """A file of token ids: a sample of each length."""
    random = np.random.default_rng(7)
    path.write_text(json.dumps([random.integers(0, vocabulary, n).tolist() for n in lengths]))
    return path
