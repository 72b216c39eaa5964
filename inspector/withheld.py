"""Secrets in commands, variables and texts: found by their name or by their shape, and replaced before they are stored
or shown. docs/runs.md says what counts as one, and how to say otherwise.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache, partial

WITHHELD = "(not stored)"
"""What stands in place of a secret."""
SECRET_VARIABLE, PUBLIC_VARIABLE = "QINSPECT_SECRET", "QINSPECT_NOT_SECRET"
"""Variables with patterns of names, `MY_*,*_PIN`: what else is a secret, and what is none."""

_ALWAYS = frozenset((
    *("password", "passwd", "passphrase", "passcode", "secret", "secrets", "cred", "creds", "credential"),
    *("credentials", "bearer", "cookie", "cookies", "apikey", "authorization"),
))  # fmt: skip
"""Words that say so wherever they stand in a name."""
_LAST = frozenset(("pass", "pwd", "pat", "token", "key", "auth", "oauth", "session", "private"))
"""Words that say so where they are the last of a name: `HF_TOKEN`, and not `key_bits`."""
_INSIDE = re.compile(r"passw|passphrase|secret(?!ar)|credential|apikey")
"""Parts of a word that say so: PGPASSWORD."""
_AFTERWORDS = frozenset(("id", "value", "string", "header", "base64", "b64", "hex"))
"""Words after the last one that do not count: SESSION_ID."""
_ENDS = ("token", "key", "pass", "pwd")
"""The same at the end of a word that is written in one: MYKEY."""
_OTHER_WORDS = re.compile(
    r"(monkey|donkey|turkey|hockey|jockey|whiskey|hotkey|lackey|keykey|bypass|compass|surpass|trespass|encompass"
    r"|(uni|multi|sub|inter|extra|over|retro|per|num|n|de|re)?(pass|token))"
)
"""Words that end like a secret and are none."""
_TOKENS_OF_TEXT = frozenset((
    *("bos", "eos", "pad", "unk", "sep", "cls", "mask", "image", "audio", "video", "special", "stop", "next", "per"),
    *("max", "min", "num", "n", "new", "first", "last", "end", "start", "begin", "prefix", "suffix", "middle"),
    *("think", "decoder", "text", "each", "every", "by", "single", "draft", "padding", "separator", "vocab", "id"),
))  # fmt: skip
"""What a token of a language model is called after: `--eos-token`, `per_token`."""
_KEYS_OF_DATA = frozenset((
    *("text", "image", "label", "data", "dataset", "sort", "group", "prompt", "field", "column", "dict", "primary"),
    *("foreign", "json", "map", "batch", "input", "output", "target", "answer", "question", "feature", "cache"),
    *("partition", "choice", "context", "message", "messages", "content", "response", "query", "kv", "k"),
))  # fmt: skip
"""What a key of data is called after: `--text-key`."""
_LONGEST_NAME = 200
_PATHS = frozenset({"PWD", "OLDPWD"})
_PLAIN_VALUE = re.compile(
    r"(?i:true|false|yes|no|on|off|none|null|auto|default|\s*)|[-+]?[0-9]{1,6}(\.[0-9]*)?|\(not stored\)"
)
"""Values that tell nobody anything, for names that may mean something else."""
_FLAG_WORDS = frozenset(("use", "no", "is", "has", "with", "enable", "disable", "skip", "allow", "require", "private"))
"""First words of an option that takes no value: what comes after it is another word."""

_PASSWORD_OPTIONS = {
    "sshpass": "-p", "mysql": "-p", "mysqldump": "-p", "mysqladmin": "-p", "mariadb": "-p", "mongosh": "-p",
    "mongo": "-p", "docker": "-p", "podman": "-p", "redis-cli": "-a", "7z": "-p", "unzip": "-P", "zip": "-P",
}  # fmt: skip
"""Programs whose short option is a password: the next word, or the rest of the same one (`-pX`)."""
_LOGIN_PROGRAMS = frozenset(("docker", "podman"))
"""Of them, those where it is one only after the word `login`: `docker run -p 80:80`."""
_JOINED_ONLY = frozenset(("mysql", "mysqldump", "mysqladmin", "mariadb", "7z"))
"""Those whose password stands in the same word or is asked for: in `mysql -p shop`, shop is a database."""
_USER_OPTIONS = frozenset(("-u", "--user", "--proxy-user", "--userpwd", "-U"))
_USER_AND_PASSWORD = re.compile(r"(?P<user>[^\s:/]*):(?!\d*\Z)(?P<password>\S+)")
"""`-u user:password`; `-u 1000:1000` is a user and a group."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,20})://(?P<user>[^\s/?#@\"'<>]*)@")
_QUERY = re.compile(r"(?P<name>[?&;][A-Za-z0-9_.~-]{1,60}=)(?P<value>\(not stored\)|[^\s&#;\"'<>]+)")
_SIGNATURES = frozenset(("sig", "signature", "code"))
_ASSIGNMENT = re.compile(
    r"(?<![A-Za-z0-9_.?&/-])(?P<name>[-+~]{0,3}[A-Za-z_][A-Za-z0-9_.-]{0,80})="
    r"(?P<value>\(not stored\)|\"[^\"]*\"|'[^']*'|(?:(?!,[A-Za-z_][A-Za-z0-9_.-]{0,80}=)[^\s;&|\"'])+)"
)
_OPTION = re.compile(
    r"(?<!\S)(?P<name>--?[A-Za-z][A-Za-z0-9_-]{1,80})(?P<gap>\s+)"
    r"(?P<value>\(not stored\)|\"[^\"]*\"|'[^']*'|[^\s;&|\"'-][^\s;&|\"']*)"
)
_ENTRY = re.compile(r"(?P<name>[\"'][A-Za-z_][A-Za-z0-9_.-]{0,80}[\"']\s*:\s*)(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*')")
_FIELD = re.compile(
    r"\b(?P<name>[A-Za-z][A-Za-z0-9]{0,30}(?:-[A-Za-z0-9]{1,30}){1,6}:\s*)(?P<value>[^\s\"',;()]{1,4096})"
)
"""A field of an HTTP header: `X-Api-Key: X`."""
_HEADER = re.compile(
    r"(?i)\b(?P<name>(?:proxy-)?authorization\s*[:=]\s*(?:bearer|basic|token)?\s*|bearer\s+)(?P<value>[A-Za-z0-9._~+/=-]{8,})"
)
_SHAPES = re.compile(
    r"-----BEGIN [A-Z0-9 ]{1,60}-----.*?(?:-----END [A-Z0-9 ]{1,60}-----|\Z)"
    r"|(?<![A-Za-z0-9_])(?:"
    r"hf_[A-Za-z0-9]{20,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|sk-(?=[A-Za-z0-9_-]*[0-9])[A-Za-z0-9_-]{20,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|nvapi-[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{35}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{40,}"
    r"|r8_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{30,}"
    r"|eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){2,4}"
    r")",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Names:
    """Patterns of names, in capitals: what else is a secret, and what is none whatever it is called."""

    secret: tuple[str, ...] = ()
    public: tuple[str, ...] = ()


def names() -> Names:
    """What the user says, in the variables and in the config file (`[runs] secret`, `not_secret`). A file that cannot
    be read says nothing: others complain about it."""
    said = _configured()
    return Names(
        (*said.secret, *_patterns(os.environ.get(SECRET_VARIABLE, "").split(","))),
        (*said.public, *_patterns(os.environ.get(PUBLIC_VARIABLE, "").split(","))),
    )


def _configured() -> Names:
    from qinspect.inspector.config import config_path

    path = config_path()
    try:
        return _read(str(path), path.stat().st_mtime_ns)
    except OSError:
        return Names()


@lru_cache(maxsize=4)
def _read(path: str, _modified: int) -> Names:
    try:
        with open(path, "rb") as f:
            table = tomllib.load(f).get("runs")
    except (OSError, ValueError, RecursionError):
        return Names()
    if not isinstance(table, dict):
        return Names()
    lists = (table.get(key) for key in ("secret", "not_secret"))
    secret, public = (_patterns([v for v in found if isinstance(v, str)]) if isinstance(found, list) else ()
                      for found in lists)  # fmt: skip
    return Names(secret, public)


def _patterns(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(w.strip().upper().replace("-", "_") for w in words if w.strip())


def is_secret(name: str, value: str | None = None) -> bool:
    """Whether the name of a variable, option or key says that its value is for nobody's eyes. value: where it is given,
    one that could not be a secret (`true`, `512`) is none, unless the name leaves no doubt."""
    is_plain = value is not None and _PLAIN_VALUE.fullmatch(value) is not None
    return _is_secret(name[:_LONGEST_NAME], is_plain, names())


@lru_cache(maxsize=1024)
def _is_secret(name: str, is_plain: bool, said: Names) -> bool:
    bare = name.strip("-+~\"' ")
    capitals = bare.upper().replace("-", "_")
    if any(fnmatchcase(capitals, p) for p in said.public):
        return False
    if any(fnmatchcase(capitals, p) for p in said.secret):
        return True
    if capitals in _PATHS:
        return False
    # of a dotted name (`model.api_key`) the last part counts
    words = [w.lower() for w in _WORD.findall(bare.rpartition(".")[2])]
    if any(w in _ALWAYS or _INSIDE.search(w) for w in words):
        return True
    while words and (words[-1].isdigit() or words[-1] in _AFTERWORDS) and len(words) > 1:
        words.pop()
    if not words or (is_plain and words[-1] not in ("pass", "pwd")):
        return False
    return _last_word_is_secret(words)


def _last_word_is_secret(words: Sequence[str]) -> bool:
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last == "token":
        return before not in _TOKENS_OF_TEXT
    if last == "key":
        return before not in _KEYS_OF_DATA
    if last in _LAST:
        return True
    return last.endswith(_ENDS) and len(last) > 4 and not _OTHER_WORDS.fullmatch(last)


def withhold(text: str) -> str:
    """A text without what looks like a secret in it, by its shape: tokens of known services, signed tokens, keys in
    PEM, user and password in a URL."""
    return _withhold(text, names())


def _withhold(text: str, said: Names) -> str:
    if not text:
        return text
    if "://" in text:
        text = _URL.sub(_url, text)
        text = _QUERY.sub(partial(_query, said), text)
    text = _HEADER.sub(_named_value, text)
    return _SHAPES.sub(WITHHELD, text)


def withhold_words(argv: Sequence[str]) -> tuple[str, ...]:
    """A command without its secrets: `--token X`, `--token=X`, `NAME=X`, the same inside a script in one word, and
    everything that has a secret's shape."""
    made: list[str] = []
    after = option = ""
    joined = False
    said = names()
    for i, word in enumerate(argv):
        if found := _password_option(word, argv[i + 1 : i + 2]):
            option, joined = found, word.rpartition("/")[2] in _JOINED_ONLY
        before = argv[i - 1] if i else ""
        if before in _USER_OPTIONS and (pair := _USER_AND_PASSWORD.fullmatch(word)):
            made.append(f"{pair['user']}:{WITHHELD}")
            after = ""
            continue
        if option and before == option and not joined:
            made.append(WITHHELD)
            after = ""
            continue
        if option and word.startswith(option) and word != option:
            made.append(f"{option}{WITHHELD}")
            after = ""
            continue
        if after and not (word.startswith("-") and len(word) > 1):
            made.append(WITHHELD if is_secret(after, word) else _withhold_in(word, said))
            after = ""
            continue
        after = word if _takes_a_secret(word, said) else ""
        made.append(_withhold_in(word, said))
    return tuple(made)


def _password_option(word: str, following: Sequence[str]) -> str:
    """The option that a password follows, where `word` is a program that has one."""
    program = word.rpartition("/")[2]
    if program in _LOGIN_PROGRAMS and list(following) != ["login"]:
        return ""
    return _PASSWORD_OPTIONS.get(program, "")


def withhold_in(text: str) -> str:
    """A text without secrets, also those that it only names: `NAME=X`, `--name X`, `"name": "X"`."""
    return _withhold_in(text, names())


def _withhold_in(text: str, said: Names) -> str:
    if "=" in text:
        text = _ASSIGNMENT.sub(partial(_assigned, said), text)
    if "-" in text and (" " in text or "\n" in text or "\t" in text):
        text = _OPTION.sub(partial(_option, said), text)
    if ":" in text:
        text = _ENTRY.sub(partial(_assigned, said), text)
        text = _FIELD.sub(partial(_assigned, said), text)
    return _withhold(text, said)


def withhold_value(name: str, value: str) -> str:
    """The value of a variable, as it is stored."""
    return WITHHELD if is_secret(name, value) else withhold(value)


def _takes_a_secret(word: str, said: Names) -> bool:
    """Whether a word is an option whose value is the word after it."""
    if not word.startswith("-") or "=" in word or not _is_secret(word[:_LONGEST_NAME], False, said):
        return False
    words = [w.lower() for w in _WORD.findall(word)]
    return not (words and words[0] in _FLAG_WORDS and len(words) > 1) and words != ["private"]


def _names_a_secret(name: str, value: str, said: Names) -> bool:
    return _is_secret(name, _PLAIN_VALUE.fullmatch(value) is not None, said)


def _assigned(said: Names, found: re.Match[str]) -> str:
    name = found["name"].rstrip(": \t\n").strip("\"'")
    if not _names_a_secret(name, found["value"].strip("\"'"), said):
        return found[0]
    return found[0][: found.start("value") - found.start()] + _quoted(found["value"])


def _option(said: Names, found: re.Match[str]) -> str:
    name = found["name"]
    if not _takes_a_secret(name, said) or not _names_a_secret(name, found["value"].strip("\"'"), said):
        return found[0]
    return f"{name}{found['gap']}{_quoted(found['value'])}"


def _quoted(value: str) -> str:
    quote = value[0] if value[:1] in ('"', "'") else ""
    return f"{quote}{WITHHELD}{quote}"


def _named_value(found: re.Match[str]) -> str:
    return f"{found['name']}{WITHHELD}"


def _url(found: re.Match[str]) -> str:
    """User and password of a URL; a user alone is no secret where it is how one logs in (`ssh://git@host`)."""
    alone = ":" not in found["user"]
    if not found["user"] or (alone and not found["scheme"].lower().startswith("http")):
        return found[0]
    return f"{found['scheme']}://{WITHHELD}@"


def _query(said: Names, found: re.Match[str]) -> str:
    name = found["name"][1:-1]
    words = [w.lower() for w in _WORD.findall(name)]
    secret = _names_a_secret(name, found["value"], said) or (bool(words) and words[-1] in _SIGNATURES)
    return f"{found['name']}{WITHHELD}" if secret else found[0]
