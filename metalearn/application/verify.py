"""Check your own estimator against closed forms: verify my_file.py:my_estimator claim=windowwise."""

import sys
from typing import Any

from metalearn.exit_codes import MISTAKE

USAGE = """\
usage: python -m metalearn verify FILE:FUNCTION claim=smoothed|windowwise|unsmoothed [budget=1] [seed=0]

FUNCTION is make_estimator(problem, truncation, sigma, num_pairs), which returns a GradientEstimator or a pair (init,
estimate), or gradient(problem, theta, key). docs/check_your_estimator.md has examples. The exit code is 0 if the
estimator is consistent with the claim, and 1 if it is not."""
SETTINGS = {"claim": str, "budget": float, "seed": int}


def read_settings(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the address of the estimator and the settings.

    Raises:
      ValueError: a word is not valid.
    """
    addresses = [word for word in words if "=" not in word]
    if len(addresses) != 1:
        raise ValueError(f"verify needs one estimator, FILE:FUNCTION; {' '.join(addresses) or 'none'} was given.")
    settings: dict[str, Any] = {"claim": "smoothed", "budget": 1.0, "seed": 0}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            continue
        if name not in SETTINGS:
            raise ValueError(f"verify has no setting {name!r}; it has: {', '.join(SETTINGS)}.")
        try:
            settings[name] = SETTINGS[name](value)
        except ValueError:
            raise ValueError(f"{name} must be a number; {value!r} was given.") from None
    return addresses[0], settings


def main(words: list[str]) -> int:
    """Print the verdict, and return the exit code."""
    if {"--help", "-h"} & set(words):
        print(USAGE)
        return 0
    try:
        address, settings = read_settings(words)
        import jax  # not needed for the help and for errors in the command line

        from metalearn.application.problem_files import load_function
        from metalearn.inner.checks import check_seed
        from metalearn.testing import verify

        key = jax.random.key(check_seed("seed", settings.pop("seed")))
        verdict = verify(load_function(address, "verify")[0], key=key, **settings)
    except (ValueError, TypeError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    print(verdict)
    return 0 if verdict.consistent else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
