"""Last words and choices: against plain computations, and as lm_eval logs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from safetensors.numpy import load_file, save_file

from qinspect.inspector.accuracy.samples import in_samples
from qinspect.inspector.demo import MODEL
from qinspect.inspector.errors import QinspectError
from qinspect.inspector.evaluate import items
from qinspect.inspector.evaluate.answers import Answers, Task, rights, write_samples
from qinspect.inspector.models.load import open_model
from qinspect.inspector.progress import unseen
from qinspect.inspector.samples.data import ByteTokenizer

CHOICES: list[dict[str, Any]] = [
    {"question": "The cat sat on the", "choices": ["mat", "equation"], "answer": 0},
    {"context": "Two and two is ", "choices": ["fish", "four", "of"], "label": 1},
    {"query": "It rained, so he took his", "choices": ["umbrella", "on"], "gold": 0},
]
SHORT = ("--samples", "2", "--seq-len", "16", "--floor-seeds", "0")


def _lines(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in content))
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with one weight changed by much."""
    path = tmp_path_factory.mktemp("other")
    tensors = dict(load_file(MODEL / "model.safetensors"))
    name = "backbone.layers.3.mixer.out_proj.weight"
    tensors[name] = (tensors[name].astype(np.float32) * -2).astype(np.float16)
    save_file(tensors, path / "model.safetensors")
    (path / "config.json").write_text((MODEL / "config.json").read_text())
    return path


def _plain(path: Path, context: str, choice: str) -> tuple[float, bool]:
    """ln p of a continuation by bytes, in one forward over all of it."""
    model = open_model(str(path), False, torch.device("cpu"))
    whole = (context + choice).encode()
    p = model.forward(torch.tensor([list(whole)]), lambda *_: None)[0].double().log_softmax(-1)
    at = range(len(whole) - len(choice.encode()), len(whole))
    return sum(float(p[i - 1, whole[i]]) for i in at), all(int(p[i - 1].argmax()) == whole[i] for i in at)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], source_root: Path) -> Command:
    return Command("evaluate", capsys, source_root)


def test_choices_are_taken_by_their_probability(ask: Command, other: Path, tmp_path: Path) -> None:
    file = _lines(tmp_path / "choices.jsonl", CHOICES)
    found = ask.json("demo", other, "--items", file, "--state", tmp_path / "state", *SHORT)
    (task,) = found["tasks"]
    logged = [json.loads(x) for x in next((tmp_path / "state/samples").glob("1-*/*.jsonl")).read_text().splitlines()]
    right = {"acc": 0, "acc_norm": 0}
    for line, asked in zip(logged, CHOICES, strict=True):
        context = next(str(asked[k]) for k in ("context", "question", "query") if k in asked)
        answer = next(asked[k] for k in ("answer", "label", "gold") if k in asked)
        expected = [_plain(other, context.rstrip(), " " * (context != context.rstrip()) + f" {c}")
                    for c in asked["choices"]]  # fmt: skip
        np.testing.assert_allclose([r[0] for r in line["filtered_resps"]], [p for p, _ in expected], rtol=1e-5)
        lengths = [len(c) for c in asked["choices"]]
        right["acc"] += int(np.argmax([p for p, _ in expected]) == answer)
        right["acc_norm"] += int(np.argmax([p / n for (p, _), n in zip(expected, lengths, strict=True)]) == answer)
    assert {m: round(3 * of["accuracy"]) for m, of in task["metrics"].items()} == right


def test_a_last_word_is_right_where_each_token_is_the_likeliest(ask: Command, other: Path, tmp_path: Path) -> None:
    """One text ends as the model itself goes on, the other does not."""
    text = "He said that it was"
    model = open_model(str(MODEL), False, torch.device("cpu"))
    ids = list(text.encode())
    while len(ids) < 40 and (len(ids) < len(text) + 3 or ids[-1] != 32):
        ids.append(int(model.forward(torch.tensor([ids]), lambda *_: None)[0, -1].argmax()))
    own = bytes(ids).decode().rstrip()
    file = _lines(tmp_path / "words.jsonl", [{"text": own}, {"text": f"{text} xylophone"}])
    found = ask.json("demo", MODEL, other, "--items", file, "--state", tmp_path / "state", *SHORT)
    first, _ = found["tasks"]
    metric = first["metrics"]["acc"]
    assert (metric["accuracy"], metric["accuracy_reference"], metric["mcnemar_p"]) == (0.5, 0.5, 1)
    again = ask.json("demo", MODEL, other, "--items", file, "--state", tmp_path / "state", *SHORT)
    assert again["tasks"] == found["tasks"]


def test_samples_are_read_as_they_were_written_and_pair(tmp_path: Path) -> None:
    file = _lines(tmp_path / "choices.jsonl", CHOICES)
    made = items.read(str(file))
    requests = [items.requests(i, ByteTokenizer(), str(file)) for i in made]
    task = Task("choices", str(file), made, requests)
    given = Answers(np.array([-1.0, -2, -9, -1, -5, -3, -2.5]), np.zeros(7, np.bool_))
    write_samples(tmp_path / "samples_choices.jsonl", task, given)
    again = items.read(str(tmp_path / "samples_choices.jsonl"))
    assert [(i.context, i.choices, i.answer, i.name, i.content) for i in again] == [
        (i.context, i.choices, i.answer, i.name, i.content) for i in made
    ]
    by_metric = {f.metric: f for f in in_samples(str(tmp_path / "samples_choices.jsonl"), None, unseen)}
    for metric, right in rights(task, given).items():
        assert list((by_metric[metric].items or {}).values()) == right
    assert rights(task, given) == {"acc": [True, True, False], "acc_norm": [False, True, True]}


def test_requests_of_lm_eval_are_taken_as_they_are(tmp_path: Path) -> None:
    """Both forms that it logs; a second filter's lines are the same items."""
    asked = {"gen_args_0": {"arg_0": "A dog", "arg_1": " runs"}, "gen_args_1": {"arg_0": "A dog", "arg_1": " was"}}
    line = {"doc_id": 7, "doc": {}, "target": "1", "doc_hash": "ab", "filter": "none", "arguments": asked}
    word = {"doc_id": 0, "doc": {}, "target": " end", "arguments": [["The", " end"]], "doc_hash": "cd"}
    (found,) = items.read(str(_lines(tmp_path / "a.jsonl", [line, {**line, "filter": "other"}])))
    assert (found.context, found.choices, found.answer, found.of_words) == ("A dog", (" runs", " was"), 1, False)
    (last,) = items.read(str(_lines(tmp_path / "b.jsonl", [word])))
    assert (last.context, last.choices, last.of_words) == ("The", (" end",), True)


@pytest.mark.parametrize(
    "line",
    [
        {}, {"text": "word"}, {"text": "blank behind "}, {"context": "a", "choices": ["b"], "answer": 1},
        {"context": "a", "choices": ["b"]}, {"context": "a", "choices": "b", "answer": 0},
        {"doc_id": 1, "arguments": [["a", {"until": []}]]}, {"doc_id": True, "arguments": [["a", "b"]]},
        {"doc_id": 1, "arguments": [["a", "b"], ["c", "d"]], "target": 0},
    ],
)  # fmt: skip
def test_a_line_that_is_no_item_is_named(tmp_path: Path, line: dict[str, Any]) -> None:
    with pytest.raises(QinspectError, match="line 1"):
        items.read(str(_lines(tmp_path / "x.jsonl", [line])))
