"""Items of a task in JSON lines: a context, and one or more ways to go on, by whose probability it is answered.

Three kinds of lines are read: `{"text": ...}`, whose last word is asked for, as LAMBADA does; `{"context": ...,
"choices": [...], "answer": 0}`; and lm_eval's per-item samples, whose requests and answer are taken as they were made,
so that the answers pair with those of lm_eval item by item. No torch in here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qinspect.inspector.accuracy.samples import MAX_ITEMS, read_items
from qinspect.inspector.errors import BrokenFile, CannotOpen
from qinspect.inspector.progress import Progress, unseen
from qinspect.inspector.samples.tokens import Tokenizer
from qinspect.inspector.text import brief

_CONTEXTS = ("context", "question", "query")
_ANSWERS = ("answer", "label", "gold")


@dataclass(frozen=True, slots=True)
class Item:
    """doc: the line it is of. context, choices: text. answer: number of the right choice. of_words: whether it is asked
    for the one continuation, which is right where every token is the likeliest; else the likeliest choice is its
    answer. name, content: number and hash, as lm_eval has them."""

    doc: Mapping[str, Any]
    context: str
    choices: tuple[str, ...]
    answer: int
    of_words: bool
    name: int | str
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """Token ids of a context with one continuation, and how many of them are the continuation's."""

    ids: tuple[int, ...]
    n_last: int


def read(path: str, limit: int | None = None, progress: Progress = unseen) -> list[Item]:
    """The first `limit` items of a file, all of them without. Raises CannotOpen for one without items, BrokenFile for a
    line that is none."""
    if not Path(path).is_file():
        raise CannotOpen("no such file", file=path)
    made: list[Item] = []
    names: set[tuple[int | str, str]] = set()
    for place, line in read_items(path, progress):
        item = _item(path, place, line, len(made))
        if (item.name, item.content) in names:  # of another filter of lm_eval's
            continue
        names.add((item.name, item.content))
        made.append(item)
        if len(made) == limit:
            break
        if len(made) > MAX_ITEMS:
            raise BrokenFile("has too many items", file=path, expected=f"at most {MAX_ITEMS:,}")
    if not made:
        raise CannotOpen("has no item", file=path)
    if len({item.of_words for item in made}) > 1:
        raise BrokenFile("mixes last words and choices", file=path, expected="items of one task")
    return made


def requests(item: Item, tokenizer: Tokenizer, file: str) -> list[Request]:
    """One for each choice, cut as lm_eval does it: blanks at the end of the context belong to what follows. Raises
    BrokenFile where nothing is left to predict, or to predict it from."""
    context = item.context.rstrip()
    blanks = item.context[len(context) :]
    before = tokenizer.encode(context)
    made = []
    for choice in item.choices:
        ids = tokenizer.encode(context + blanks + choice)
        if not before or len(ids) <= len(before):
            raise BrokenFile(
                "an item has no token to predict, or none before it", file=file, key=str(item.name),
                expected="a context, and text that follows it", found=brief(choice),
            )  # fmt: skip
        made.append(Request(tuple(ids), len(ids) - len(before)))
    return made


def _item(path: str, place: str, line: Mapping[str, Any], number: int) -> Item:
    if "doc_id" in line:
        return _of_lm_eval(path, place, line)
    content = hashlib.sha256(json.dumps(line, indent=2, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()
    text = line.get("text")
    if isinstance(text, str):
        words = text.split(" ")  # as lm_eval's task cuts it
        if len(words) < 2 or not words[-1]:
            raise _broken(path, place, "has no last word", "text of two words or more, without a blank behind", text)
        return Item(line, " ".join(words[:-1]), (f" {words[-1]}",), 0, True, number, content)
    context = next((line[k] for k in _CONTEXTS if isinstance(line.get(k), str)), None)
    choices, answer = line.get("choices"), next((line[k] for k in _ANSWERS if k in line), None)
    if context is None or not isinstance(choices, list) or not all(isinstance(c, str) and c for c in choices):
        expected = "text, or context with choices and answer"
        raise _broken(path, place, "is not an item", expected, line)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise _broken(path, place, "has no answer", f"the number of a choice, 0 to {len(choices) - 1}", answer)
    return Item(line, context, tuple(f" {c}" for c in choices), answer, False, number, content)


def _of_lm_eval(path: str, place: str, line: Mapping[str, Any]) -> Item:
    """Its requests: pairs in a list, or in `gen_args_0` and so on. The answer is the number of the right one."""
    asked = list(_pairs(line.get("arguments")))
    name, content = line["doc_id"], line.get("doc_hash", "")
    if not asked or not isinstance(name, int | str) or isinstance(name, bool) or not isinstance(content, str):
        raise _broken(path, place, "is not an item", "requests of a context and a continuation", line.get("arguments"))
    doc: Mapping[str, Any] = line["doc"] if isinstance(line.get("doc"), dict) else {}
    choices = tuple(choice for _, choice in asked)
    if len(asked) == 1:
        return Item(doc, asked[0][0], choices, 0, True, name, content)
    answer = line.get("target")
    if isinstance(answer, str) and answer.isdecimal():  # as its logs have every target
        answer = int(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(asked):
        raise _broken(path, place, "has no answer", f"a target from 0 to {len(asked) - 1}", answer)
    if len({context for context, _ in asked}) > 1:
        raise _broken(path, place, "has several contexts", "one context, and choices", line.get("arguments"))
    return Item(doc, asked[0][0], choices, answer, False, name, content)


def _pairs(arguments: object) -> Iterator[tuple[str, str]]:
    listed: Sequence[object] = list(arguments.values()) if isinstance(arguments, dict) else (
        arguments if isinstance(arguments, list) else []
    )  # fmt: skip
    for found in listed:
        pair = list(found.values()) if isinstance(found, dict) else found
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, str) for x in pair):
            yield pair[0], pair[1]


def _broken(path: str, place: str, problem: str, expected: str, found: object) -> BrokenFile:
    return BrokenFile(f"a line {problem}", file=path, key=place, expected=expected, found=brief(found))
