"""Downloads from a local server, with small files that have checksums of their own."""

import gzip
import hashlib
import http.server
import socket
import threading
import time

import numpy as np
import pytest

from metalearn.application import downloads

IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(side).to_bytes(4, "big") for side in array.shape)
    return gzip.compress(header + array.tobytes())


FILES = {"train-images-idx3-ubyte.gz": idx(IMAGES), "train-labels-idx1-ubyte.gz": idx(LABELS)}


@pytest.fixture
def server():
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            content = FILES.get(self.path.rsplit("/", 1)[-1])
            if self.path.startswith("/broken/"):
                content = b"something else"
            if content is None or self.path.startswith("/missing/"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + (7 if self.path.startswith("/short/") else 0)))
            self.end_headers()
            if self.path.startswith("/drip/"):
                for byte in content:
                    time.sleep(0.05)
                    try:
                        self.wfile.write(bytes([byte]))
                    except OSError:
                        return
                return
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", requests
        httpd.shutdown()
        thread.join()


@pytest.fixture
def use(monkeypatch):
    def install(*mirrors):
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
        monkeypatch.setattr(downloads, "MNIST", downloads.Source("MNIST", "mnist", mirrors, sums))

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return install


def test_downloaded_files_become_columns_and_are_cached(server, use, tmp_path):
    address, requests = server
    use(f"{address}/good/")
    data = downloads.mnist("train", tmp_path)
    np.testing.assert_allclose(data.inputs, IMAGES.reshape(5, 12).T / 255, rtol=1e-6)
    assert data.targets.tolist() == LABELS.tolist()
    assert data.targets.dtype == np.int32
    assert len(requests) == 2
    downloads.mnist("train", tmp_path)
    assert len(requests) == 2
    assert sorted(path.name for path in (tmp_path / "mnist").iterdir()) == sorted(FILES)


def test_a_damaged_cached_file_is_downloaded_again(server, use, tmp_path):
    address, requests = server
    use(f"{address}/good/")
    downloads.mnist("train", tmp_path)
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"half")
    assert downloads.mnist("train", tmp_path).targets.tolist() == LABELS.tolist()
    assert len(requests) == 3


@pytest.mark.parametrize("fault", ["missing", "broken", "short"])
def test_the_next_mirror_is_used_if_one_fails(server, use, tmp_path, fault):
    address, _ = server
    use(f"{address}/{fault}/", f"{address}/good/")
    assert downloads.mnist("train", tmp_path).targets.tolist() == LABELS.tolist()


@pytest.mark.parametrize(("fault", "reason"), [("missing", "404"), ("broken", "checksum")])
def test_if_all_mirrors_fail_the_error_suggests_digits(server, use, tmp_path, fault, reason):
    address, _ = server
    use(f"{address}/{fault}/")
    with pytest.raises(ConnectionError, match=rf"MNIST could not be fetched.*{reason}.*digits\(\)"):
        downloads.mnist("train", tmp_path)
    assert not (tmp_path / "mnist").exists()


def test_a_closed_port_fails_at_once(use, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    use(f"http://127.0.0.1:{port}/")
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="digits"):
        downloads.mnist("train", tmp_path)
    assert time.monotonic() - start < 5


def test_a_server_that_sends_nothing_times_out(use, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        use(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(ConnectionError, match="timed out"):
            downloads.mnist("train", tmp_path)


def test_a_server_that_sends_too_slowly_times_out(server, use, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "DEADLINE", 0.3)
    use(f"{server[0]}/drip/")
    with pytest.raises(ConnectionError, match=r"not complete after 0\.3 seconds"):
        downloads.mnist("train", tmp_path)


def test_a_failed_write_leaves_no_file(server, use, tmp_path, monkeypatch):
    use(f"{server[0]}/good/")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(downloads.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        downloads.mnist("train", tmp_path)
    assert list((tmp_path / "mnist").iterdir()) == []


def test_an_unknown_split_raises_an_error(tmp_path):
    with pytest.raises(ValueError, match="split must be one of test, train; 'validation' was given"):
        downloads.fashion_mnist("validation", tmp_path)


@pytest.mark.parametrize("source", [downloads.MNIST, downloads.FASHION_MNIST])
def test_the_sources_are_four_files_with_complete_checksums(source):
    names = {f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")}
    assert set(source.sums) == names
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in source.sums.values())
    assert all(mirror.endswith("/") for mirror in source.mirrors)


def test_the_cache_folder_follows_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert downloads.cache_folder() == tmp_path / "metalearn"
