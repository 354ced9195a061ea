"""Hide keys, tokens and passwords in the configuration, the command line and messages."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

HIDDEN = "<hidden>"

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_WORD = re.compile(
    r"key|pwd|.*(token|password|passwd|passphrase|secret|credential|(api|access|private|auth)key)"
)
_PAIR = re.compile(r"([\w.\-/@]+)(\s*[=:]\s*)('[^']*'|\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\}|[^\s,{}\[\]]+)")
_URL_LOGIN = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_SHORTEST_REPLACED = 6  # shorter values can be ordinary words, which must not be replaced everywhere


def is_secret(name: str, value: Any = "") -> bool:
    """Return whether a setting of this name must be hidden.

    Names are read word by word (`api_key`, `apiKey`, `WANDB_API_KEY`). A number is hidden only if the last word is a
    secret in the singular (`password: 1234`), so that `max_tokens: 512` and `key: 0`, a random seed, stay readable.
    """
    words = [word.lower() for word in _WORDS.findall(name.rsplit(".", 1)[-1])]
    if value is None or isinstance(value, bool):
        return False
    if _is_number(value):
        return name.rsplit(".", 1)[-1].lower() != "key" and bool(words) and bool(_SECRET_WORD.fullmatch(words[-1]))
    return any(_SECRET_WORD.fullmatch(word.removesuffix("s")) for word in words)


def _is_number(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, int | float)
    try:
        float(value)
    except ValueError:
        return False
    return True


def known_secrets(config: Any) -> list[str]:
    """Return the values that must not be written: those of secret settings and of secret environment variables."""
    environment = (value for name, value in os.environ.items() if is_secret(name))
    found = {value for value in (*_secret_values(config, False), *environment) if len(value) >= _SHORTEST_REPLACED}
    return sorted(found, key=len, reverse=True)


def _secret_values(config: Any, secret: bool) -> Iterator[str]:
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from _secret_values(value, secret or is_secret(str(name), value))
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _secret_values(value, secret)
    elif secret and config is not None:
        yield str(config)


def hide(config: Any, secrets: Iterable[str] = ()) -> Any:
    """Return the same nested dictionaries and lists with every secret replaced by "<hidden>"."""
    if isinstance(config, Mapping):
        return {name: HIDDEN if is_secret(str(name), value) else hide(value, secrets) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [hide(value, secrets) for value in config]
    return scrub(config, secrets) if isinstance(config, str) else config


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Remove known secrets, logins in addresses, and the values of `name=value` pairs with secret names from a text."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    name, equals, value = text.partition("=")
    if equals and re.fullmatch(r"[\w.\-+~/@]+", name) and is_secret(name, value):
        return f"{name}={HIDDEN}"
    return _URL_LOGIN.sub(HIDDEN, _PAIR.sub(_scrub_pair, text))


def _scrub_pair(pair: re.Match) -> str:
    if is_secret(pair[1], pair[3]):
        return pair[1] + pair[2] + HIDDEN
    return pair[1] + pair[2] + (_PAIR.sub(_scrub_pair, pair[3]) if pair[3][0] in "[{'\"" else pair[3])


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
        content = hide(yaml.safe_load(path.read_text(encoding="utf-8")))
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
