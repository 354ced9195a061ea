"""A picture that is computed on all devices of all processes has the same bits as on one device."""

import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest

from metalearn.landscape import condition, trainability
from metalearn.recording import Tiles, read_metrics
from tests.processes import run_script

SETTINGS = {"num_steps": 40, "resolution": (61, 40)}  # five bands

SCRIPT = """
import json, os, sys
import jax
address, number, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if address:
    jax.distributed.initialize(address, 2, number, heartbeat_timeout_seconds=20, shutdown_timeout_seconds=10)
try:
    import numpy as np
    from metalearn.compilation import compilation_effort
    from metalearn.landscape import condition, trainability
    from metalearn.landscape import pixels
    compilation_effort("low")  # that of the tests: bits are those of one effort
    used, band = set(), pixels._start
    def spy(values, key, settings):
        found = band(values, key, settings)
        used.update(device.id for device in found.stop.devices())
        return found
    pixels._start = spy
    chosen = condition("minibatch")
    found = trainability(chosen.problem, chosen.plane, num_steps=40, resolution=(61, 40))
    np.savez(f"{folder}/{number}.npz", measure=found.measure, escape=found.escape, undecided=found.undecided)
    if address:
        # each process has its own folder; only one has the first tile, and only the other has the whole picture
        from metalearn.landscape import trainability as picture
        from metalearn.recording import LandscapeFolder, Tiles, open_run
        os.chdir(f"{folder}/{number}")
        render = lambda keep: picture(chosen.problem, chosen.plane, num_steps=40, resolution=(61, 40), keep=keep)
        tiled = LandscapeFolder("landscapes", {"a": 1}).landscape("one", chosen.plane, render)
        np.savez(f"{folder}/tiled-{number}.npz", measure=tiled.measure, escape=tiled.escape, undecided=tiled.undecided)
        with open_run(f"{folder}/runs", {}, mode="disabled") as run:
            run.log({"loss": number}, 0)
        refused = ""
        try:
            Tiles("landscapes", {"a": 2 + number})
        except ValueError as error:
            refused = str(error)
        try:
            picture(chosen.problem, chosen.plane, num_steps=40, resolution=(61, 40 + number))
        except ValueError as error:
            refused += str(error)
        assert "made with a = 1 and cannot be completed with 2" in refused, refused
        assert "do not compute the same pixels" in refused, refused
    print(json.dumps({"used": len(used), "devices": jax.device_count(), "steps": found.pixel_steps}))
    if address:
        jax.distributed.shutdown()
except BaseException as error:
    print(repr(error), file=sys.stderr, flush=True)
    os._exit(1)
"""


@pytest.fixture(scope="module")
def alone():
    chosen = condition("minibatch")
    return trainability(chosen.problem, chosen.plane, **SETTINGS)


def start(folder, number, address, devices):
    flags = {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, "-c", SCRIPT, address, str(number), str(folder)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **flags}
    )


def finish(process):
    try:
        out, err = process.communicate(timeout=150)
    finally:
        process.kill()
    return heard(process.returncode, out, err)


def heard(code, out, err):
    assert code == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def agrees(path, alone):
    with np.load(path) as stored:
        return all(np.array_equal(stored[name], getattr(alone, name)) for name in stored.files)


def test_four_devices_of_one_process_give_the_same_bits(tmp_path, alone):
    (tmp_path / "script.py").write_text(SCRIPT)
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    done = run_script(tmp_path / "script.py", "", 0, tmp_path, XLA_FLAGS=flags)
    report = heard(done.returncode, done.stdout, done.stderr)
    assert report == {"used": 4, "devices": 4, "steps": alone.pixel_steps}
    assert agrees(tmp_path / "0.npz", alone)


def test_two_processes_give_the_same_bits(tmp_path, alone):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    kept = Tiles(tmp_path / "kept", {"a": 1})
    trainability(condition("minibatch").problem, condition("minibatch").plane, **SETTINGS, keep=kept)
    for number, whole in ((0, False), (1, True)):
        (tmp_path / str(number) / "landscapes").mkdir(parents=True)
        if whole:
            shutil.copytree(tmp_path / "kept", tmp_path / "1/landscapes/one.tiles")
    processes = [start(tmp_path, number, address, devices=2) for number in (0, 1)]
    reports = [finish(process) for process in processes]
    assert [report["devices"] for report in reports] == [4, 4]
    assert [report["steps"] for report in reports] == [alone.pixel_steps] * 2
    assert agrees(tmp_path / "0.npz", alone)
    assert agrees(tmp_path / "1.npz", alone)
    for number in (0, 1):
        assert agrees(tmp_path / f"tiled-{number}.npz", alone), (
            "the tiles that only one has do not shift those of others"
        )
    (run,) = (tmp_path / "runs").iterdir()
    assert [line["loss"] for line in read_metrics(run)] == [0], "only the first process writes"
