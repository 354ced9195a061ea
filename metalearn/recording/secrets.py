"""Hide keys, tokens and passwords in the configuration, the command line and messages."""

import itertools
import os
import re
import sys
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

HIDDEN = "<hidden>"

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_WORD = re.compile(
    r"key|pwd|auth|authori[sz]ation|bearer|cookie|jwt|pat|webhook"
    r"|.*(oauth|token|password|passwd|passphrase|secret|credential|(api|access|private|auth)key)"
)
_SECRET_LAST_WORD = re.compile(r"pass|pw|passcode|dsn")
_FOLDERS = ("PWD", "OLDPWD")  # environment variables of the working directory
_SHORTEST_REPLACED = 6  # shorter values can be ordinary words, which must not be replaced everywhere

# In a text: each pattern has the secret as its group "secret".
_PAIR = re.compile(
    r"(?P<name>[\w.\-/@]+)['\"]?\s*[=:]\s*"
    r"(?P<value>'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\}|(?:(?:bearer|basic|token)\s+)?[^\s,;&{}\[\]'\"]+)",
    re.IGNORECASE,
)
_SHAPES = [
    re.compile(pattern)
    for pattern in (
        r"://(?P<secret>[^/\s@]+)@",  # the login of an address
        r"(?i)\bbearer\s+(?P<secret>[\w.~+/=-]{6,})",
        r"(?i)\b(?:basic|token)\s+(?P<secret>(?=[\w.~+/=-]*[\d=])[\w.~+/=-]{8,})",
        r"(?i)\b(?:password|passphrase|token|secret|api[ _-]?key)\s+(?:is|was)\s+(?P<secret>[^\s,;]+)",
        r"(?i)[?&#;](?:[\w.-]*signature|sig|code|auth|access)=(?P<secret>[^&#\s'\"]+)",
        r"(?i)://[^\s'\"]*(?:hooks?|webhooks?)[^\s'\"/]*/(?P<secret>[^\s'\"]+)",
        r"://[^\s'\"]*/(?P<secret>(?=[\w-]*\d)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{20,})",
        r"\b(?P<secret>(?:gh[opsur]_|github_pat_|glpat-|hf_|sk-|xox[abeprs]-|AIza|wandb_v\d_)[\w-]{16,})",
        r"\b(?P<secret>(?:AKIA|ASIA)[A-Z0-9]{16})\b",
        r"\b(?P<secret>eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)",
        r"(?s)(?P<secret>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$))",
    )
]


def is_secret(name: str, value: Any = "") -> bool:
    """Return whether a setting of this name must be hidden.

    Names are read word by word (`api_key`, `apiKey`, `WANDB_API_KEY`). A number is hidden only if the last word is a
    secret in the singular (`password: 1234`), so that `max_tokens: 512` and `key: 0`, a random seed, stay readable.
    """
    words = [word.lower() for word in _WORDS.findall(name.rsplit(".", 1)[-1])]
    if value is None or isinstance(value, bool) or not words:
        return False
    last = bool(_SECRET_LAST_WORD.fullmatch(words[-1]))
    if _is_number(value):
        return name.rsplit(".", 1)[-1].lower() != "key" and (last or bool(_SECRET_WORD.fullmatch(words[-1])))
    return last or any(_SECRET_WORD.fullmatch(word.removesuffix("s")) for word in words)


def _is_number(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, int | float)
    try:
        float(value)
    except ValueError:
        return False
    return True


def known_secrets(config: Any, arguments: Iterable[str] = ()) -> list[str]:
    """Return the values that must not be written anywhere.

    They are the values of secret settings and of secret environment variables, and the secrets inside texts of the
    configuration and of the command line. A secret that is hidden in one place must not be readable in another.
    """
    arguments = list(arguments)
    said = [*_secret_values(config, False), *_behind_options(arguments)]
    said += [value for text in arguments for value in _find_secrets(text)]
    said += [value for name, value in os.environ.items() if _is_meant(name, value)]
    found = {value.strip("'\"") for value in said} - {HIDDEN}
    return sorted((value for value in found if len(value) >= _SHORTEST_REPLACED), key=len, reverse=True)


def _is_meant(name: str, value: str) -> bool:
    """Return whether an environment variable holds a secret itself, unlike AUTH_METHOD and SSH_AUTH_SOCK."""
    if name in _FOLDERS or not is_secret(name, value):
        return False
    last = _WORDS.findall(name)[-1].lower()
    return is_secret(last) or (any(letter.isdigit() for letter in value) and not value.startswith(("/", ".")))


def _secret_values(config: Any, secret: bool) -> Iterator[str]:
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from _secret_values(value, secret or is_secret(str(name), value))
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _secret_values(value, secret)
    elif isinstance(config, str):
        yield from [config] if secret else _find_secrets(config)
    elif secret and config is not None:
        yield str(config)


def _behind_options(arguments: list[str]) -> Iterator[str]:
    """Yield the values after options such as --password."""
    for option, value in itertools.pairwise(arguments):
        if option.startswith("-") and "=" not in option and is_secret(option):
            yield value


def hide(config: Any, secrets: Iterable[str] = ()) -> Any:
    """Return the same nested dictionaries and lists with every secret replaced by "<hidden>"."""
    if isinstance(config, Mapping):
        return {name: HIDDEN if is_secret(str(name), value) else hide(value, secrets) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [hide(value, secrets) for value in config]
    return scrub(config, secrets) if isinstance(config, str) else config


def scrub_all(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Scrub the texts of nested dictionaries and lists, including keys; other values are unchanged."""
    if isinstance(value, Mapping):
        return {scrub_all(name, secrets): scrub_all(entry, secrets) for name, entry in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [scrub_all(entry, secrets) for entry in value]
    return scrub(value, secrets) if isinstance(value, str) else value


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Remove known secrets from a text, and everything that looks like a secret.

    These are the values of `name=value` and `name: value` with secret names, logins and tokens in addresses, bearer
    headers, and tokens with the prefixes of well-known services.
    """
    for secret in secrets:
        for form in {secret, urllib.parse.quote(secret, safe="")}:
            text = text.replace(form, HIDDEN)
    name, equals, value = text.partition("=")
    if equals and re.fullmatch(r"[\w.\-+~/@]+", name) and is_secret(name, value):
        return f"{name}={HIDDEN}"
    for begin, end in reversed(_spans(text)):
        text = text[:begin] + HIDDEN + text[end:]
    return text


def _find_secrets(text: str) -> Iterator[str]:
    """Yield the secrets in a text, except for plain words, which would otherwise be hidden in all texts."""
    name, equals, value = text.partition("=")
    whole = equals and re.fullmatch(r"[\w.\-+~/@]+", name) and is_secret(name, value)
    found = [value] * bool(whole) + [text[begin:end] for begin, end in _spans(text)]
    yield from (one for one in found if not (one.isalpha() and one.islower()))


def _spans(text: str) -> list[tuple[int, int]]:
    """Return begin and end of the secrets in a text, in order and apart from each other."""
    found = [match.span("secret") for shape in _SHAPES for match in shape.finditer(text)]
    position = 0
    while pair := _PAIR.search(text, position):
        begin, end = pair.span("value")
        if is_secret(pair["name"], pair["value"]):
            found.append((begin, end))
            position = end
        else:  # the value can contain pairs itself
            position = begin
    apart: list[tuple[int, int]] = []
    for begin, end in sorted(found):
        if HIDDEN in text[begin:end]:
            continue
        if apart and begin < apart[-1][1]:
            apart[-1] = apart[-1][0], max(end, apart[-1][1])
        else:
            apart.append((begin, end))
    return apart


def scrub_arguments(arguments: Iterable[str], secrets: Iterable[str] = ()) -> list[str]:
    """Return command-line arguments without secrets, including the value after `--password`."""
    secrets, clean, hide_next = list(secrets), [], False
    for argument in arguments:
        clean.append(HIDDEN if hide_next else scrub(argument, secrets))
        hide_next = argument.startswith("-") and "=" not in argument and is_secret(argument)
    return clean


def hide_in_file(path: Path) -> None:
    """Hide secrets in a YAML file of another program; Hydra's sweeper writes the configuration without hiding them."""
    import yaml

    if path.exists():
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        content = hide(content, known_secrets(content, sys.argv))
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
