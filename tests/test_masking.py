"""What looks like a secret is hidden wherever pairkit writes or prints, and nothing else is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pairkit import masking
from pairkit.errors import EngineError, InputError, OutputError, PairkitError, RecipeError
from pairkit.masking import masked, places_of_secrets, remember
from pairkit.progress import log

SECRETS = {
    "a password in a URL": ("https://me:{}@host:8000/v1 cannot be reached", "hunter2"),
    "with @ in it": ("https://me:{}@host/v1", "hun@ter2"),
    "a token as the user": ("git+https://{}@github.com/a/b", "ghp0123abc"),
    "of a proxy": ("proxy http://user:{}@10.0.0.1:3128 refused", "p4ss"),
    "OpenAI": ("Incorrect API key provided: {}.", "sk-proj-abcDEF0123456789_-abc"),
    "Anthropic": ("{} is not valid", "sk-ant-api03-abcdefgh"),
    "Hugging Face": ("token {} expired", "hf_abcdefghijklmnopqrstuvwx"),
    "GitHub": ("{}", "ghp_abcdefghijklmnopqrst0123"),
    "Groq": ("key={}", "gsk_abcdefghijklmnopq"),
    "Google": ("?key={}&a=1", "AIzaSyA-abcdefghijklmnopqrstuvwxyz01"),
    "AWS": ("id {}", "AKIAIOSFODNN7EXAMPLE"),
    "Slack": ("{}", "xoxb-123456789012-abcdef"),
    "a JWT": ("cookie {}", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123"),
    "a header": ("Authorization: Bearer {}", "abc.def.ghi"),
    "a basic header": ("Authorization: Basic {}", "bWU6aHVudGVyMg=="),
    "a query": ("GET https://host/v1?api_key={}&n=1", "0123abcd"),
    "a signature": ("https://bucket/a?X-Amz-Signature={}", "deadbeef00"),
    "an echoed body": ('bad request: {{"api_key": "{}", "n": 1}}', "topsecret"),
    "an echoed mapping": ("bad request: {{'password': '{}'}}", "topsecret"),
    "an Azure parameter": ("https://h/?subscription-key={}&a=1", "0123abcd"),
    "a short parameter": ("GET https://h/v1?n=1&api_key={}", "a1b"),
    "a shared access signature": ("https://x.blob.core.windows.net/c?sv=2020&sig={}", "aZ%2Bb3%3D"),
    "a password parameter": ("https://h/?pwd={}", "abcd1234"),
    "of Google's storage": ("https://storage.googleapis.com/a?X-Goog-Signature={}", "0123abcd"),
    "of S3's sessions": ("https://b/a?X-Amz-Security-Token={}", "0123abcd"),
    "an encoded URL": ("?next=https%3A%2F%2Fu%3A{}%40host", "hunter2"),
    "a token header": ("Authorization: Token {}", "abcdefghij"),
    "a digest header": ("Authorization: Digest {}", 'username="a", response="deadbeef"'),
    "a cookie": ("Cookie: session={}", "abcdefghij"),
    "a named header": ("x-api-key: {}", "abcdefghij"),
    "a header of a list": ("[('api-key', '{}')]", "abcdefghij"),
    "an environment": ("export WANDB_API_KEY={}", "abcdefghij"),
    "of AWS": ("AWS_SECRET_ACCESS_KEY={}", "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY"),
    "a flag": ("--api-key {} is unknown", "topsecret"),
    "an override": ("generate.extra_body.token={}", "topsecret"),
    "of a block": ("headers.Authorization={}", "topsecret"),
    "YAML": ("password: {}", "topsecret1"),
    "with spaces": ("password = {}", "topsecret1"),
    "of Google Cloud": ('{{"private_key_id": "{}"}}', "0123456789abcdef0123456789abcdef01234567"),
    "of a connection": ("AccountKey={};Endpoint", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50"),
    "Stripe": ("{}", "sk_live_abcdefghijklmnop"),
    "Together": ("{}", "tgp_v1_abcdefghijklmnopqrstuvwxyz0123456789"),
    "Fireworks": ("{}", "fw_abcdefghijklmnopqrstuvwx"),
    "Google's OAuth": ("{} expired", "ya29.a0AfH6SMBabcdefghijklmnop"),
    "npm": ("{}", "npm_abcdefghijklmnopqrstuvwxyz0123456789"),
    "PyPI": ("{}", "pypi-AgEIcHlwaS5vcmcabcdefgh"),
    "Weights & Biases": ("{}", "wandb_v1_abcdefghijklmnopqrstuvwxyz"),
    "Slack's hooks": ("https://hooks.slack.com/services/{}", "T00000000/B00000000/XXXXXXXXXXXX"),
    "a PGP key": ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n{}\n-----END PGP PRIVATE KEY BLOCK-----", "lQOYBF"),
    "a private key": (
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
        "MIIEpAIBAAKCAQEA",
    ),
}
HARMLESS = [
    "tokens_per_micro_batch must be at least 1, got 0",
    "the tokenizer 'org/name' has no chat template",
    "https://huggingface.co/datasets/org/name cannot be reached",
    "http://127.0.0.1:8000/v1 requires an API key: set the environment variable OPENAI_API_KEY",
    "write to me@example.com about task-oriented-dialogues",
    "a.jsonl, row 3, field 'prompt': is null",
    "the key in MY_SERVER_KEY was not accepted: no reason given",
    "token=None, use_auth_token=True, hf_token=null, max_tokens=512, tokens=5",
    "the token: '<|im_end|>' is in the text; set tokens.add=['<a>']",
    "password: must be a text",
    "generate.api_key: extra fields are not permitted",
    "https://host/v1?model=m&n=1 answered 404; key: prompt; auth failed",
    "a.py:12: the code path a/b/c.py, ratio=0.5, secrets are masked, cookie recipes",
    "eos_token='</s>' of the tokenizer; added_tokens: 3; reference_tokens = 17",
    "pairkit.json: recipe hash 0123456789abcdef0123456789abcdef",
]


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_is_hidden(text: str, secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    written = text.format(secret)
    assert secret in written
    assert secret not in masked(written)
    assert masked(masked(written)) == masked(written)
    for kind in (PairkitError, InputError, RecipeError, EngineError, OutputError):
        assert secret not in str(kind(written))
    log(written)
    assert secret not in capsys.readouterr().err
    assert list(places_of_secrets({"a": [{"b": written}]})) == ["a.0.b"]


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_are_as_they_were(text: str) -> None:
    assert masked(text) == text
    assert str(EngineError(text)) == text


@pytest.mark.parametrize(
    "key",
    [
        "api_key", "API-Key", "x-api-key", "Authorization", "password", "hf_token", "token", "client_secret",
        "aws_secret_access_key", "openai_api_key", "access_token", "credentials", "api_keys", "apiKey",
        "hfToken", "clientSecret", "accessToken", "openai_key", "Ocp-Apim-Subscription-Key", "auth", "bearer",
        "private_key_id", "pwd", "proxy_password", "connection_string", "token_key", "Proxy-Authorization",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["plain", "1", ["one", "two"]])
def test_the_name_of_a_key_tells(key: str, value: Any) -> None:
    content = {"generate": {"extra_body": {key: value, "n": None}}}
    assert masked(content) == {"generate": {"extra_body": {key: "***", "n": None}}}
    assert list(places_of_secrets(content)) == [f"generate.extra_body.{key}"]
    assert list(places_of_secrets(masked(content))) == [f"generate.extra_body.{key}"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"headers": [["x-api-key", "vvv"]]}, "headers.0.1"),
        ({"headers": [("Authorization", "vvv")]}, "headers.0.1"),
        ({"credentials": {"user": "vvv"}}, "credentials"),
        ({"api_key": {"value": "vvv"}}, "api_key"),
        ({"a": {"sk-0123456789abcdef": "vvv"}}, "a.sk-0123456789abcdef"),
        ({"https://u:vvv@host": 1}, "https://u:vvv@host"),
    ],
)
def test_secrets_of_other_forms(content: dict[str, Any], place: str) -> None:
    assert list(places_of_secrets(content)) == [place]
    assert "0123456789abcdef" not in str(masked(content))
    assert "vvv" not in str(masked(content)) or "sk-" in place


def test_many_names_take_no_more_than_linear_time() -> None:
    def seconds(size: int) -> float:
        start = time.process_time()
        for text in (
            "a" * size,
            "a_" * size,
            "key=" * size,
            "://" * size,
            "api_key: " * size,
            "%3A%2F%2F" * size,
        ):
            masked(text)
        return time.process_time() - start

    seconds(10)
    assert seconds(8_000) < 4 * 4 * seconds(2_000) + 0.5


@pytest.mark.parametrize(
    "content",
    [
        {"max_tokens": 5, "eos_token": "</s>", "bos_token": "<s>", "tokens": {"add": ["<a>"]}, "token": 3},
        {"api_key_env": "OPENAI_API_KEY", "tokenizer": "org/name", "stop_token_ids": [1, 2]},
        {"counts": {"pass": 3, "auth": 2, "cookie": 1.5}, "tokens": {"add": ["a"]}},
        {"password": None, "api_key": "", "hf_token": True, "boi_token": "<image>", "image_token": "<i>"},
        {"source": {"name": "files", "revision": "0123456789abcdef0123456789abcdef01234567"}},
    ],
)
def test_other_keys_are_no_secrets(content: dict[str, Any]) -> None:
    assert masked(content) == content
    assert list(places_of_secrets(content)) == []


def test_the_key_that_is_used_is_hidden_whatever_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_remembered", set())
    assert masked("refused: correcthorse") == "refused: correcthorse"
    remember("correcthorse")
    remember("a")  # which would hide words
    assert masked("refused: correcthorse a") == "refused: *** a"
    remember('co/rr"ect')
    assert masked('?k=co%2Frr%22ect {"a": "co/rr\\"ect"}') == '?k=*** {"a": "***"}'
    assert str(RecipeError("correcthorse")) == "***"


def test_errors_are_still_those_of_python() -> None:
    assert isinstance(OutputError("no space"), OSError)
    assert OutputError("no space").args == ("no space",)
    assert str(OutputError("out: no space")) == "out: no space"
