"""A text of which the next character is predicted."""

import importlib.resources

import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_count
from metalearn.inner.training.examples import Examples


def characters(length: int = 64) -> tuple[Examples, str]:
    """Load an English text of 43 000 characters, in windows that do not overlap.

    The text is prose of the documentation of metalearn, in lower case without digits and formulas.

    Args:
      length: the number of characters in a window.

    Returns:
      Examples with inputs `[windows, length]` and targets `[windows, length]`, which are the following characters, as
      indices; and the characters that the indices stand for.

    Raises:
      TypeError: `length` is not a whole number.
      ValueError: `length` is below 1, or the text is shorter.
    """
    check_count("length", length)
    file = importlib.resources.files("metalearn.inner.training").joinpath("text.txt")
    text = file.read_text(encoding="ascii").replace("\n", " ").strip()
    windows = (len(text) - 1) // length
    if windows < 1:
        raise ValueError(f"length must be at most {len(text) - 1}, that of the text; {length} was given.")
    symbols = "".join(sorted(set(text)))
    codes = np.array([symbols.index(character) for character in text], np.int32)
    cut = lambda start: jnp.asarray(codes[start : start + windows * length].reshape(windows, length))
    return Examples(cut(0), cut(1)), symbols
