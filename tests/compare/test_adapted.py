"""An adapter beside a model: what is found of it there, and how far it moves the weights, by what peft merges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from qinspect.inspector.checkpoint import open_checkpoint
from qinspect.inspector.compare import Comparison, compare
from qinspect.inspector.compare.adapted import find, relative_update
from qinspect.inspector.compare.answer import answer
from qinspect.inspector.formats import format_of

DATA = Path(__file__).parents[1] / "data" / "adapters"
PEFT = DATA / "peft"


def compared(a: Path, b: Path, codes: bool | None = None) -> Comparison:
    return compare(format_of(open_checkpoint(a)), format_of(open_checkpoint(b)), codes)


@pytest.mark.parametrize("name", ["lora", "dora", "lokr"])
def test_how_far_it_moves_each_weight(name: str) -> None:
    adapter, base = (format_of(open_checkpoint(p)) for p in (PEFT / name, PEFT / "expected_base.safetensors"))
    before, after = load_file(PEFT / "expected_base.safetensors"), load_file(PEFT / name / "expected.safetensors")
    found = find(adapter.adapts(), base)
    assert not found.odd
    assert not found.absent
    for module, item in found.fit:
        w, m = (state[f"{module.module}.weight"].double().numpy() for state in (before, after))
        truth = np.linalg.norm(m - w) / np.linalg.norm(w)
        assert relative_update(adapter, module, item) == pytest.approx(truth, rel=1e-5)


def test_the_headline_counts_modules(tmp_path: Path) -> None:
    c = compared(PEFT / "expected_base.safetensors", PEFT / "lora")
    assert c.headline.rule == "adapter-and-model"
    assert c.headline.text.startswith("B is no model: LoRA adapter of 7 modules, rank 2 to 4, alpha 3 to 6. ")
    assert "Of the modules that it adapts all are in A, and its factors fit the weights there." in c.headline.text
    assert "Merged into A it moves a weight by" in c.headline.text
    assert answer(c).startswith("ADAPTER AND MODEL: B is no model")
    assert not c.same
    unread = compared(PEFT / "lora", PEFT / "expected_base.safetensors", codes=False)
    assert unread.headline.text.startswith("A is no model")
    assert "moves" not in unread.headline.text


def test_a_part_of_them_and_none(tmp_path: Path) -> None:
    base = load_file(PEFT / "expected_base.safetensors")
    base.pop("layers.1.self_attn.q_proj.weight")
    base["layers.0.self_attn.o_proj.weight"] = torch.ones(5, 5)
    save_file(base, tmp_path / "some.safetensors")
    text = compared(tmp_path / "some.safetensors", PEFT / "lora").headline.text
    assert "6 of 7 are in A, the first that is not layers.1.self_attn.q_proj; 1 do" in text
    assert "not fit the weight there, first layers.0.self_attn.o_proj." in text
    assert "(5 of 5 measured)" not in text
    save_file({"h.0.attn.weight": torch.ones(8, 12)}, tmp_path / "none.safetensors")
    text = compared(tmp_path / "none.safetensors", PEFT / "lora").headline.text
    assert text.endswith(
        "None of its modules is in A by name: it is for another model, or one under the names of another library."
    )


def test_flat_names_are_found_in_a_model_that_has_the_dots(tmp_path: Path) -> None:
    """Also where no list of names knows them, and under a prefix; not where two weights could be meant."""
    flat = {"lora_unet_zz_3_yy_q.lora_down.weight": (2, 6), "lora_unet_zz_3_yy_q.lora_up.weight": (4, 2)}
    save_file({k: torch.ones(s) for k, s in flat.items()}, tmp_path / "flat.safetensors")
    adapter = format_of(open_checkpoint(tmp_path / "flat.safetensors"))
    for n, names in enumerate((["zz.3.yy.q"], ["deep.zz.3.yy.q"], ["zz.3.yy.q", "deep.zz.3.yy.q"])):
        save_file({f"{name}.weight": torch.ones(4, 6) for name in names}, tmp_path / f"{n}.safetensors")
        found = find(adapter.adapts(), format_of(open_checkpoint(tmp_path / f"{n}.safetensors")))
        assert [item.name for _, item in found.fit] == [f"{names[0]}.weight"]
    both = {f"{name}.zz.3.yy.q.weight": torch.ones(4, 6) for name in ("one", "two")}
    save_file(both, tmp_path / "two.safetensors")
    assert not find(adapter.adapts(), format_of(open_checkpoint(tmp_path / "two.safetensors"))).fit


def test_two_adapters_pair_by_role(tmp_path: Path) -> None:
    stem, path = "lora_unet_mid_block_attentions_0_proj_in", "unet.mid_block.attentions.0.proj_in"
    a, b = torch.randn(2, 6), torch.randn(4, 2)
    save_file({f"{stem}.lora_down.weight": a, f"{stem}.lora_up.weight": b}, tmp_path / "kohya.safetensors")
    save_file({f"{path}.lora_A.weight": a, f"{path}.lora_B.weight": b}, tmp_path / "peft.safetensors")
    c = compared(tmp_path / "kohya.safetensors", tmp_path / "peft.safetensors")
    assert c.same
    assert c.headline.rule == "same-under-other-names"


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    for name, value in (("nan", float("nan")), ("inf", float("inf")), ("huge", 3e38)):
        factors = {"a.q.lora_A.weight": torch.full((2, 6), value), "a.q.lora_B.weight": torch.full((4, 2), value)}
        save_file({**factors, "a.q.alpha": torch.tensor(2.0)}, tmp_path / f"{name}.safetensors")
        save_file({"a.q.weight": torch.ones(4, 6)}, tmp_path / "base.safetensors")
        text = compared(tmp_path / "base.safetensors", tmp_path / f"{name}.safetensors").headline.text
        assert "all are in A" in text
        assert "nan" not in text
        assert "moves" not in text


def test_a_quantized_base(tmp_path: Path) -> None:
    """The values that its codes stand for are what is moved."""
    base = DATA.parent / "mlx_mxfp4"
    if not (base / "model.safetensors").exists():
        base = next(p for p in sorted(base.rglob("model.safetensors"))).parent
    fmt = format_of(open_checkpoint(base))
    weight = fmt.weights()[0]
    module = weight.role.removesuffix(".weight")
    out, n_in = weight.shape
    factors = {f"{module}.lora_A.weight": torch.full((1, n_in), 0.1), f"{module}.lora_B.weight": torch.ones(out, 1)}
    save_file({**factors, f"{module}.alpha": torch.tensor(1.0)}, tmp_path / "adapter.safetensors")
    adapter = format_of(open_checkpoint(tmp_path / "adapter.safetensors"))
    ((adapted, item),) = find(adapter.adapts(), fmt).fit
    truth = 0.1 * np.sqrt(out * n_in) / np.linalg.norm(fmt.effective(weight).astype(np.float64))
    assert relative_update(adapter, adapted, item) == pytest.approx(truth, rel=1e-6)
