"""Secrets are found by their names, places and forms, and a secret hidden in one file is hidden in all."""

import json
import sys

import pytest

from metalearn.recording import open_run
from metalearn.recording.secrets import HIDDEN, hide, is_secret, known_secrets, scrub, scrub_arguments

SLACK = "https://hooks.slack.example/services/T0123/B0456/abcDEF123456"


@pytest.mark.parametrize(
    "name",
    ["auth", "wandb_pass", "DB_PASS", "authorization", "http.proxyAuth", "bearer", "jwt", "webhook", "oauth", "pw"],
)
def test_names_of_secrets_are_recognised(name):
    assert is_secret(name, "x1y2z3")
    assert hide({name: {"a": "x1y2z3"}}) == {name: HIDDEN}


@pytest.mark.parametrize(
    "name", ["author", "bypass_rate", "passes", "forward_pass_steps", "authentic", "path", "pattern"]
)
def test_names_without_a_secret_are_not_hidden(name):
    assert not is_secret(name, "x1y2z3")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("the token=abc123def works", "abc123def"),
        ("note: the token is abc123def, keep it", "abc123def"),
        ("use token abc123defg here", "abc123defg"),
        ('{"api_key": "abc123def", "n": 1}', "abc123def"),
        ("{'wandb_pass': 'abc 123', 'n': 1}", "abc 123"),
        ("curl -H 'Authorization: Bearer abc.123-def' x", "abc.123-def"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("https://me:abc123@host/x", "me:abc123"),
        ("https://abc123def@host/x", "abc123def"),
        ("https://host/x?a=1&access_token=abc123def&b=2", "abc123def"),
        ("https://host/x?X-Amz-Signature=abc123def", "abc123def"),
        ("https://host/x?sig=abc%2F123&b=2", "abc%2F123"),
        (SLACK, "abcDEF123456"),
        ("https://host/data/aB3dE5gH7jK9mN1pQ3sT5/x.npz", "aB3dE5gH7jK9mN1pQ3sT5"),
        ("pushed with ghp_abcdefghijklmnop0123456789", "ghp_abcdefghijklmnop0123456789"),
        ("hf_abcdefghijklmnopqrst", "hf_abcdefghijklmnopqrst"),
        ("AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", "MIIabc"),
    ],
)
def test_secrets_in_text_are_hidden(text, secret):
    assert secret not in scrub(text)
    assert HIDDEN in scrub(text)
    assert scrub(scrub(text)) == scrub(text)
    assert any(secret in found for found in known_secrets({"note": text}))
    assert all(secret not in argument for argument in scrub_arguments(["x.py", f"+note={text}"]))


@pytest.mark.parametrize(
    "text",
    [
        "loss = 0.25, key=0",
        "https://host/metalearn/data/digits-of-handwriting-1998.npz",
        "problem=my_file.py:my_problem",
        "a token of gratitude",
        "the key is small",
        "Basic colours",
        "max_tokens: 512",
        "sort by monkey: accuracy",
        "{horizon: 100, length: 10}",
    ],
)
def test_text_without_secrets_is_unchanged(text):
    assert scrub(text) == text


def test_ordinary_words_are_not_hidden():
    assert known_secrets({"note": "sort by key: accuracy"}) == []


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("SOME_API_KEY", "abcdefgh", True),
        ("SOME_PASS", "abc123", True),
        ("SOME_AUTH_METHOD", "password", False),
        ("SSH_AUTH_SOCK", "/tmp/agent.1", False),
        ("AUTH_HEADER", "Basic abc123", True),
        ("PWD", "/work/place1", False),
    ],
)
def test_secret_values_of_the_environment_are_hidden(monkeypatch, name, value, known):
    monkeypatch.setenv(name, value)
    assert (value in known_secrets({})) == known


def test_a_secret_hidden_in_one_file_is_hidden_in_all(tmp_path, monkeypatch):
    """Each secret is recognised in one place only, and occurs in the others without a name."""
    secrets = {
        "config": "c0nfig-s3cret",
        "sentence": "s3ntence-abc1",
        "option": "0ption-s3cret",
        "environment": "3nviron-s3cret",
    }
    monkeypatch.setenv("SOME_TOKEN", secrets["environment"])
    monkeypatch.setattr(sys, "argv", ["x.py", "--password", secrets["option"], *secrets.values()])
    everything = " ".join(secrets.values())
    config = {"auth": secrets["config"], "note": f"the password is {secrets['sentence']}", "copy": everything}
    with open_run(tmp_path, config, mode="disabled") as run:
        run.log({"loss": 1.0, "said": everything, f"of {secrets['config']}": 2.0}, 0)
        run.table(f"table {secrets['option']}", [{"said": everything, secrets["environment"]: [everything], "key": 3}])
        run.arrays(secrets["sentence"], {})
        run.finish(f"ValueError: {everything}")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for secret in secrets.values():
        assert [path.name for path in files if secret.encode() in path.read_bytes() or secret in path.name] == []
    (table,) = run.folder.glob("tables/*.json")
    assert json.loads(table.read_text())[0]["key"] == 3
