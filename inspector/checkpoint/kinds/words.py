"""Words where weights should be: pointers, web pages, what a server said instead, source code."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

from qinspect.inspector.checkpoint.kinds.kind import DOWNLOAD_AGAIN, GIVE_MODEL, FileKind
from qinspect.inspector.text import size, visible

_SHOWN = 80
"""Characters that are quoted of a text."""
_BLANKS = frozenset("\t\n\r\f\v\x1b")
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_MESSAGES = ("error", "message", "detail", "msg", "error_description")


def as_text(head: bytes) -> str | None:
    """The beginning of a file as text; None where it is none. The last character may be cut off."""
    encoding = next((name for bom, name in _BOMS.items() if head.startswith(bom)), "utf-8")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        if head.lstrip()[:1] != b"<":  # a page in an older encoding
            return None
        text = head.decode("latin-1")
    readable = all(c in _BLANKS or (c >= " " and c != "\x7f" and not "\x80" <= c <= "\x9f") for c in text)
    return text if readable and text.strip() else None


def quoted(text: str, limit: int = _SHOWN) -> str:
    """The first words, on one line, in quotes."""
    words = " ".join(text.split())
    return f"'{visible(words[:limit])}{'...' if len(words) > limit else ''}'"


def first_words(head: bytes) -> str:
    """How a file begins, for an error: in words where they are words."""
    text = as_text(head[:1024])
    return quoted(text) if text else f"bytes {head[:8].hex(' ')}" if head else "nothing"


def text_kind(head: bytes, path: PurePath) -> FileKind | None:
    """What a text is; None where the bytes are none."""
    text = as_text(head)
    if text is None:
        return None
    for recognise in _KINDS:
        if kind := recognise(text):
            return kind
    return _source(text, path) or FileKind("text, not weights", DOWNLOAD_AGAIN, quoted(text))


def pointer_kind(text: str) -> FileKind | None:
    """A few lines that stand for a file which is kept elsewhere: of Git LFS, Xet, git-annex, DVC."""
    if re.match(r"version https://(git-lfs|hawser)\b", text):
        n = re.search(r"^size (\d{1,18})\s*$", text, re.MULTILINE)
        found = f"a pointer to {size(int(n[1]))}" if n else None
        cure = "Run `git lfs pull` in its repository, or download the file itself."
        return FileKind("a Git LFS pointer, not the file itself", cure, found)
    if text.startswith("# xet version"):
        return FileKind(
            "a Xet pointer, not the file itself", "Clone again with git-xet installed, or use `hf download`."
        )
    if re.match(r"(\.\./)*(\.git)?/annex/objects/", text):
        return FileKind("a git-annex pointer, not the file itself", "Run `git annex get` on it in its repository.")
    if re.match(r"(md5: \w+\n)?outs:\s*\n-\s", text):
        return FileKind("a DVC pointer, not the file itself", "Run `dvc pull` in its repository.")
    return None


def _page(text: str) -> FileKind | None:
    if not re.match(r"\s*(<!--.*?-->\s*)?<(!doctype html|html|head|body)\b", text, re.IGNORECASE | re.DOTALL):
        return None
    title = re.search(r"<title[^>]*>(.*?)(</title|$)", text, re.IGNORECASE | re.DOTALL)
    return FileKind("an HTML page, not weights", DOWNLOAD_AGAIN, quoted(title[1] if title else text))


def _xml(text: str) -> FileKind | None:
    if not re.match(r"\s*<(\?xml|Error>)", text):
        return None
    if re.search(r"<net\s", text):
        cure = "Compare the model that it was converted from."
        return FileKind("the graph of an OpenVINO model", f"Its weights are in the .bin file beside it. {cure}")
    said = [m[1] for tag in ("Code", "Message") if (m := re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL))]
    if said:
        return FileKind("an error message from a storage server, not weights", DOWNLOAD_AGAIN, quoted(": ".join(said)))
    return FileKind("an XML file, not weights", DOWNLOAD_AGAIN, quoted(text))


def _json(text: str) -> FileKind | None:
    if not re.match(r"\s*[{\[]", text):
        return None
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        for key in _MESSAGES:
            if isinstance(said := content.get(key), str):
                return FileKind("a JSON message, not weights", DOWNLOAD_AGAIN, quoted(said, 160))
        if "weight_map" in content:
            return FileKind("an index of shards", "Its name must end in .index.json, and it must be beside the shards.")
    elif content is None and '"weight_map"' in text:
        return FileKind("an index of shards", "Its name must end in .index.json, and it must be beside the shards.")
    elif content is None and re.match(r'\s*\{\s*"(error|message|detail)"', text):
        return FileKind("a JSON message, not weights", DOWNLOAD_AGAIN, quoted(text, 160))
    if content is None and not re.match(r'\s*[{\[]\s*(["{\[\]}]|$)', text):
        return None  # begins with a bracket, and that is all
    return FileKind("a JSON file, not weights", "Give the folder that it is in.", quoted(text))


_KINDS: tuple[Callable[[str], FileKind | None], ...] = (pointer_kind, _page, _xml, _json)


def _source(text: str, path: PurePath) -> FileKind | None:
    for what in _sources(text, path.suffix.lower()):
        return FileKind(what, GIVE_MODEL, quoted(text))
    return None


def _sources(text: str, suffix: str) -> Iterator[str]:
    code = r"(#!.*python.*\n|import \w|from [\w.]+ import |def \w+\(|class \w+)"
    if suffix in (".py", ".pyi") or re.match(code, text):
        yield "Python source, not weights"
    if suffix in (".md", ".rst") or re.match(r"---\s*\n[\w-]+:|#{1,3} \S", text):
        yield "a Markdown text, not weights"
    if suffix in (".yaml", ".yml", ".toml", ".cfg", ".ini"):
        yield "a settings file, not weights"
    if re.match(r"#!", text):
        yield "a script, not weights"
