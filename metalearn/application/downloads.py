"""Download MNIST and Fashion-MNIST, verify their checksums, and keep them in a cache folder."""

import gzip
import hashlib
import http.client
import os
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from metalearn.application.program_cache import cache_folder
from metalearn.inner.checks import check_choice
from metalearn.inner.training.datasets import Data

TIMEOUT = 10.0  # seconds for a connection and for each read
DEADLINE = 120.0  # seconds for one file, so that a slow server cannot block a program


class Source(NamedTuple):
    """Where to download a dataset.

    Attributes:
      title: the name to print.
      folder: the name of its folder in the cache.
      mirrors: addresses of folders that contain the files; the first one that works is used.
      sums: file name -> SHA-256 of the file.
    """

    title: str
    folder: str
    mirrors: tuple[str, ...]
    sums: dict[str, str]


MNIST = Source(
    "MNIST",
    "mnist",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
FASHION_MNIST = Source(
    "Fashion-MNIST",
    "fashion-mnist",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)


def mnist(split: str = "train", cache: str | os.PathLike | None = None) -> Data:
    """Load MNIST, handwritten digits: inputs `[784, examples]` = pixels / 255, labels 0 … 9.

    There are 60 000 training examples and 10 000 test examples.

    Args:
      split: "train" or "test".
      cache: the folder for the files; by default `metalearn` in the user's cache folder (XDG_CACHE_HOME, or ~/.cache).

    Raises:
      ValueError: `split` is unknown.
      ConnectionError: the files are not in the cache, and no mirror delivered files with the expected checksums.
    References:
      LeCun, Cortes & Burges, The MNIST database of handwritten digits, 1998.
    """
    return _load(MNIST, split, cache)


def fashion_mnist(split: str = "train", cache: str | os.PathLike | None = None) -> Data:
    """Load Fashion-MNIST, pieces of clothing: inputs `[784, examples]` = pixels / 255, labels 0 … 9.

    The arguments and errors are those of `mnist`.
    References:
      Xiao, Rasul & Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017,
      arXiv 1708.07747.
    """
    return _load(FASHION_MNIST, split, cache)


def _load(source: Source, split: str, cache) -> Data:
    check_choice("split", split, ("train", "test"))
    folder = (Path(cache) if cache is not None else cache_folder()) / source.folder
    prefix = "train" if split == "train" else "t10k"
    images = _read_idx(_file(source, folder, f"{prefix}-images-idx3-ubyte.gz"))
    labels = _read_idx(_file(source, folder, f"{prefix}-labels-idx1-ubyte.gz"))
    pixels = images.reshape(len(images), -1).T.astype(np.float32) / np.float32(255)
    return Data(jnp.asarray(pixels, jnp.result_type(float)), jnp.asarray(labels, jnp.int32))


def _file(source: Source, folder: Path, name: str) -> bytes:
    """Return the content of a file, from the cache if the file is intact there, otherwise from the first mirror that
    delivers it.
    """
    path = folder / name
    if path.is_file() and _matches(content := path.read_bytes(), source.sums[name]):
        return content
    failures = []
    for mirror in source.mirrors:
        try:
            content = _fetch(mirror + name)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{mirror}: {error or type(error).__name__}")
            continue
        if _matches(content, source.sums[name]):
            _write(path, content)
            return content
        failures.append(f"{mirror}: the file has another checksum")
    raise ConnectionError(
        f"{source.title} could not be fetched: {name} is not in {folder}, "
        f"and no mirror delivered it ({'; '.join(failures)}); "
        "without a network use ml.data.digits(), which needs no download."
    )


def _fetch(address: str) -> bytes:
    end = time.monotonic() + DEADLINE
    parts = []
    with urllib.request.urlopen(address, timeout=TIMEOUT) as response:
        # read1 returns the bytes that have arrived; read would wait for a full part from a slow server.
        while part := response.read1(1 << 20):
            parts.append(part)
            if time.monotonic() > end:
                raise TimeoutError(f"not complete after {DEADLINE:g} seconds")
    return b"".join(parts)


def _write(path: Path, content: bytes) -> None:
    """Write to a temporary file and rename it, so that an incomplete file never has the final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _matches(content: bytes, digest: str) -> bool:
    return hashlib.sha256(content).hexdigest() == digest


def _read_idx(compressed: bytes) -> np.ndarray:
    """Read an array of bytes in the IDX format.

    The format is: two zero bytes, the type 8, the number of dimensions, each dimension in four bytes, the data.
    """
    content = gzip.decompress(compressed)
    num_dimensions = content[3]
    shape = np.frombuffer(content, ">u4", num_dimensions, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_dimensions).reshape(shape.astype(int))
