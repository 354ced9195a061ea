"""The provenance of a run: commit, versions, device and command line."""

import importlib.metadata
import shlex
import subprocess
import sys
import time

import jax
import numpy as np

from metalearn.recording.secrets import scrub_arguments


def collect_provenance(secrets: list[str] | None = None) -> dict:
    """Collect commit, versions, device, command line and time; no environment variables and no host name.

    Args:
      secrets: texts to hide, in addition to the values of options whose names look like secrets.
    """
    device = jax.devices()[0]
    return {
        "command": shlex.join(scrub_arguments(sys.argv, secrets or ())),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git": _git_state(),
        "versions": {
            "python": ".".join(map(str, sys.version_info[:3])),
            "metalearn": _version("metalearn"),
            "jax": jax.__version__,
            "numpy": np.__version__,
        },
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
    }


def _git_state() -> dict | None:
    """Return commit and dirty flag of the repository of the current folder; None if there is none."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
    ).stdout.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
