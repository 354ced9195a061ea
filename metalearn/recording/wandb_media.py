"""Values in the forms that W&B takes: images, cells of tables, and the place of artifacts."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def drawn(figure: Any) -> Any:
    """Return the figure as an image; `wandb.Image` accepts only figures that pyplot made."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer)


def cell(value: Any) -> Any:
    """Return a value as an entry of a table: a number, a text or None."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


@contextlib.contextmanager
def staging_in(folder: Path) -> Iterator[None]:
    """Stage artifacts in the run's folder: the default is the home folder, where `wandb sync` may not find them."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("WANDB_DATA_DIR")
        if before is not None:
            os.environ["WANDB_DATA_DIR"] = before
