"""What counts as a secret, by its name and by its shape, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qinspect.inspector import withheld
from qinspect.inspector.withheld import WITHHELD, is_secret, withhold, withhold_in, withhold_value, withhold_words

SECRET = (
    *("HF_TOKEN", "aws_secret_access_key", "WANDB_API_KEY", "DB_PASSWORD", "GIT_PAT", "OPENAI_APIKEY", "DB_PASS"),
    *("PASSPHRASE", "CREDS", "CRED", "BEARER", "MYKEY", "PGPASSWORD", "DB_PWD", "COOKIE", "SESSION_ID", "SESSION"),
    *("SECRET_KEY_BASE", "AUTH", "x-api-key", "apiKey", "accessToken", "--hf-token", "TOKEN_1", "MYTOKEN", "PASSWD"),
    *("private_key", "PRIVATE", "GITHUB_AUTH", "hftoken", "KEY", "model.api_key", "GOOGLE_APPLICATION_CREDENTIALS"),
)
PUBLIC = (
    *("TOKENIZERS_PARALLELISM", "key_bits", "max-tokens", "PASSES", "KEYBOARD", "tokenizer", "MONKEY", "HF_HOME"),
    *("PATH", "PWD", "OLDPWD", "eos_token", "--pad-token", "per_token", "text_key", "GIT_AUTHOR_NAME", "AUTHOR"),
    *("XDG_SESSION_TYPE", "key_value_heads", "token_embedding", "NUM_PASSES", "bypass", "sort_key", "num_keys"),
    *("CUDA_VISIBLE_DEVICES", "--kv-cache-dtype", "n_tokens", "passthrough", "PATTERN", "secretary", "compass"),
)


@pytest.fixture(autouse=True)
def no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "qinspect" / "config.toml"


@pytest.mark.parametrize("name", SECRET)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)
    assert withhold_value(name, "S1x") == WITHHELD


@pytest.mark.parametrize("name", PUBLIC)
def test_names_of_none(name: str) -> None:
    assert not is_secret(name)
    assert withhold_value(name, "S1x") == "S1x"


@pytest.mark.parametrize(
    "value",
    [
        "hf_" + "aB3" * 11, "ghp_" + "aB3" * 12, "github_pat_" + "aB3_" * 12, "glpat-" + "aB3-" * 5,
        "sk-" + "aB3" * 12, "sk-proj-" + "a_B3" * 12, "AKIA" + "ABCD1234" * 2, "xoxb-123456789012-abcdef",
        "nvapi-" + "aB3_" * 10, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\ncut off",
    ],
)  # fmt: skip
def test_shapes_of_secrets(value: str) -> None:
    for text in (value, f"a {value} b", f"x={value}", f"'{value}'"):
        assert value not in withhold(text)
        assert WITHHELD in withhold(text)
    assert withhold_value("NOTHING", value) == WITHHELD
    assert value not in " ".join(withhold_words(["p", value, f"--x={value}"]))


@pytest.mark.parametrize(
    "text",
    [
        "hf_transfer_really_long_name_here", "sk-learn-pipelines-for-training-models", "disk-0123456789abcdef0123456",
        "ghp_short", "d41d8cd98f00b204e9800998ecf8427e", "state-spaces/mamba-130m", "eyJust.a.word", "AKIAshort",
        "https://huggingface.co/a/b?x=1", "ssh://git@host/a", "git@github.com:a/b", "a@b.c", "x@y://z",
        "----- BEGIN of a table -----", "http://localhost:8000/v1", "s3://bucket/key", "--max-tokens 512",
    ],
)  # fmt: skip
def test_shapes_of_none(text: str) -> None:
    assert withhold_in(text) == text


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        (["p", "--token", "abc"], ["p", "--token", WITHHELD]),
        (["p", "--token=abc"], ["p", f"--token={WITHHELD}"]),
        (["p", "--token"], ["p", "--token"]),
        (["p", "--token", "--x"], ["p", "--token", "--x"]),
        (["p", "--max-tokens", "512"], ["p", "--max-tokens", "512"]),
        (["p", "--key", "5"], ["p", "--key", "5"]),
        (["p", "--password", "12345"], ["p", "--password", WITHHELD]),
        (["env", "HF_TOKEN=abc", "p"], ["env", f"HF_TOKEN={WITHHELD}", "p"]),
        (["p", "--use_auth_token", "model"], ["p", "--use_auth_token", "model"]),
        (["p", "--use_auth_token=True"], ["p", "--use_auth_token=True"]),
        (["p", "--private", "repo"], ["p", "--private", "repo"]),
        (["p", "+model.api_key=abc", "model.n=3"], ["p", f"+model.api_key={WITHHELD}", "model.n=3"]),
        (
            ["sh", "-c", "export HF_TOKEN=abc; python x.py --api-key 'a b' --n 3"],
            ["sh", "-c", f"export HF_TOKEN={WITHHELD}; python x.py --api-key '{WITHHELD}' --n 3"],
        ),
        (["curl", "-H", "Authorization: Bearer abcdefghij"], ["curl", "-H", f"Authorization: Bearer {WITHHELD}"]),
        (["curl", "-H", "X-Api-Key: abc"], ["curl", "-H", f"X-Api-Key: {WITHHELD}"]),
        (["sh", "-c", 'curl -H "Private-Token: abc" h'], ["sh", "-c", f'curl -H "Private-Token: {WITHHELD}" h']),
        (["curl", "-H", "Content-Type: text/x"], ["curl", "-H", "Content-Type: text/x"]),
        (["p", "postgres://u:p@h/d"], ["p", f"postgres://{WITHHELD}@h/d"]),
        (["git", "clone", "https://abc@host/x"], ["git", "clone", f"https://{WITHHELD}@host/x"]),
        (["p", "https://h/x?token=abc&n=1"], ["p", f"https://h/x?token={WITHHELD}&n=1"]),
        (["p", "s3://b/k?X-Amz-Signature=ab12&n=1"], ["p", f"s3://b/k?X-Amz-Signature={WITHHELD}&n=1"]),
        (["p", '{"api_key": "abc", "n": 1}'], ["p", f'{{"api_key": "{WITHHELD}", "n": 1}}']),
        (["p", "pretrained=a/b,token=abc,dtype=auto"], ["p", f"pretrained=a/b,token={WITHHELD},dtype=auto"]),
        (["curl", "-u", "me:S3", "https://h/x"], ["curl", "-u", f"me:{WITHHELD}", "https://h/x"]),
        (
            ["docker", "run", "-u", "1000:1000", "-p", "80:80", "i"],
            ["docker", "run", "-u", "1000:1000", "-p", "80:80", "i"],
        ),
        (["docker", "login", "-u", "me", "-p", "S3", "r.io"], ["docker", "login", "-u", "me", "-p", WITHHELD, "r.io"]),
        (["sshpass", "-p", "S3", "ssh", "h"], ["sshpass", "-p", WITHHELD, "ssh", "h"]),
        (["/usr/bin/sshpass", "-pS3", "ssh", "h"], ["/usr/bin/sshpass", f"-p{WITHHELD}", "ssh", "h"]),
        (["mysql", "-uroot", "-pS3", "shop"], ["mysql", "-uroot", f"-p{WITHHELD}", "shop"]),
        (["mysql", "-p", "shop"], ["mysql", "-p", "shop"]),
        (["python", "-u", "train.py"], ["python", "-u", "train.py"]),
        (["vllm", "-p", "8000"], ["vllm", "-p", "8000"]),
    ],
)
def test_words_of_a_command(words: list[str], stored: list[str]) -> None:
    assert list(withhold_words(words)) == stored
    assert list(withhold_words(stored)) == stored  # twice is once


def test_what_the_user_says(no_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (is_secret("SITE_PIN"), is_secret("ROUTING_KEY")) == (False, True)
    monkeypatch.setenv(withheld.SECRET_VARIABLE, "*_pin, x")
    monkeypatch.setenv(withheld.PUBLIC_VARIABLE, "ROUTING_*")
    assert (is_secret("SITE_PIN"), is_secret("--site-pin"), is_secret("ROUTING_KEY")) == (True, True, False)
    monkeypatch.delenv(withheld.SECRET_VARIABLE)
    monkeypatch.delenv(withheld.PUBLIC_VARIABLE)
    no_config.parent.mkdir()
    no_config.write_text('[runs]\nsecret = ["SITE_*"]\nnot_secret = ["routing-key"]\n')
    assert (is_secret("SITE_PIN"), is_secret("ROUTING_KEY")) == (True, False)


@pytest.mark.parametrize(
    "content", [b"\xff", b"[runs", b"runs = 3", b"[runs]\nsecret = 3\n", b"[runs]\nsecret = [1]\n"]
)
def test_a_config_file_that_says_nothing(content: bytes, no_config: Path) -> None:
    no_config.parent.mkdir()
    no_config.write_bytes(content)
    assert is_secret("HF_TOKEN")
    assert not is_secret("HF_HOME")


@given(st.text(max_size=300))
def test_any_text_is_taken_and_twice_is_once(text: str) -> None:
    once = withhold_in(text)
    assert withhold_in(once) == once
