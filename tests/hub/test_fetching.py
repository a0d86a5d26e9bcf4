"""fetch(): against a server of this machine that breaks off, answers wrongly, is down, or leads elsewhere."""

from __future__ import annotations

import hashlib
import random
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from restoralib.hub import FetchError, Offline, cache_folder, fetch
from restoralib.hub.fetching import check_url, file_name
from restoralib.restoration import Cancelled
from restoralib.zoo import BUNDLED

DATA = random.Random(0).randbytes(600_000)
SUM = hashlib.sha256(DATA).hexdigest()


@dataclass
class Site:
    """What the server has, and what befalls it.

    Args:
        files: path -> bytes.
        breaks: path -> bytes after which the connection ends, once for each number.
        statuses: path -> statuses that are answered first.
        redirects: path -> address.
        ranges: whether parts are given.
        etag: of all files.
        seen: method, path and Range of each request.
    """

    files: dict[str, bytes] = field(default_factory=lambda: {"/net.safetensors": DATA})
    breaks: dict[str, list[int]] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    etag: str = '"one"'
    length: bool = True
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def site(monkeypatch, tmp_path):
    one = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            one.seen.append((self.path, self.headers.get("Range")))
            if one.statuses.get(self.path):
                self.send_response(one.statuses[self.path].pop(0))
                self.send_header("Retry-After", "0")
                return self.end_headers()
            if self.path in one.redirects:
                self.send_response(302)
                self.send_header("Location", one.redirects[self.path])
                return self.end_headers()
            if self.path not in one.files:
                self.send_response(404)
                return self.end_headers()
            data, start = one.files[self.path], 0
            wanted = self.headers.get("Range")
            if wanted and one.ranges and self.headers.get("If-Range") in (None, one.etag):
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    self.send_response(416)
                    return self.end_headers()
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            if one.length:
                self.send_header("Content-Length", str(len(data) - start))
            self.send_header("ETag", one.etag)
            self.end_headers()
            until = start + one.breaks[self.path].pop(0) if one.breaks.get(self.path) else None
            self.wfile.write(data[start:until])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    one.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("RESTORALIB_HOME", str(tmp_path / "home"))
    for name in ("HF_HUB_OFFLINE", "RESTORALIB_OFFLINE", "HF_ENDPOINT", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield one
    server.shutdown()
    server.server_close()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_file_is_fetched_once_and_verified_again(site):
    path = fetch(f"{site.url}/net.safetensors", sha256=SUM, size=len(DATA))
    assert path.read_bytes() == DATA and path.is_relative_to(cache_folder() / "weights") and path.name == "net.safetensors"
    assert fetch(f"{site.url}/net.safetensors", sha256=SUM.upper()) == path
    assert len(site.seen) == 1
    path.write_bytes(DATA[:-1] + b"x")
    assert fetch(f"{site.url}/net.safetensors", sha256=SUM).read_bytes() == DATA
    assert left(cache_folder()) == ["net.safetensors"]


def test_a_broken_download_goes_on_within_a_call_and_in_the_next(site):
    site.breaks["/net.safetensors"] = [300_000, 100_000, 100, 100]
    with pytest.raises(FetchError, match=r"ended after 400,100 of 600,000 bytes|connection failed"):
        fetch(f"{site.url}/net.safetensors", sha256=SUM, retries=2)
    assert left(cache_folder()) == ["net.safetensors.part", "net.safetensors.part.json"]
    site.breaks.clear()
    assert fetch(f"{site.url}/net.safetensors", sha256=SUM).read_bytes() == DATA
    assert [wanted for _, wanted in site.seen] == [None, "bytes=300000-", "bytes=400000-", "bytes=400100-"]
    assert left(cache_folder()) == ["net.safetensors"]


def test_a_server_without_parts_begins_again(site):
    site.ranges = False
    site.breaks["/net.safetensors"] = [300_000]
    assert fetch(f"{site.url}/net.safetensors", sha256=SUM).read_bytes() == DATA


def test_a_file_that_changed_amid_the_download_is_not_mixed(site):
    site.breaks["/net.safetensors"] = [300_000]
    url = f"{site.url}/net.safetensors"
    with pytest.warns(UserWarning, match="without a SHA-256"), pytest.raises(FetchError):
        fetch(url, retries=0)
    site.files["/net.safetensors"], site.etag = DATA[::-1], '"two"'
    with pytest.warns(UserWarning, match="without a SHA-256"):
        assert fetch(url).read_bytes() == DATA[::-1]


def test_a_partial_file_of_other_bytes_is_told_by_the_sum(site):
    site.files = {"/a": DATA[::-1], "/b": DATA}
    site.breaks["/a"] = [300_000]
    # The second server's bytes follow the first's: the sum is wrong, and the third address gives all.
    site.files["/c"] = DATA
    path = fetch([f"{site.url}/{name}" for name in "abc"], sha256=SUM, retries=0)
    assert path.read_bytes() == DATA
    assert site.seen == [("/a", None), ("/b", "bytes=300000-"), ("/c", None)]


def test_a_wrong_sum_is_refused_and_nothing_is_left(site):
    with pytest.raises(FetchError, match=f"another file .SHA-256 {SUM}, expected {'0' * 64}., which was deleted"):
        fetch(f"{site.url}/net.safetensors", sha256="0" * 64)
    assert left(cache_folder()) == [] and len(site.seen) == 1


def test_another_size_is_refused_before_the_download(site):
    for arguments, words in [({"size": 5}, "600,000 bytes in place of 5"), ({"max_bytes": 1000}, "more than max_bytes=1,000")]:
        with pytest.raises(FetchError, match=words):
            fetch(f"{site.url}/net.safetensors", sha256=SUM, **arguments)
    site.length = False  # the server does not say how long it is
    with pytest.raises(FetchError, match="gave more than 1,000 bytes"):
        fetch(f"{site.url}/net.safetensors", sha256=SUM, max_bytes=1000)
    with pytest.raises(ValueError, match="more than max_bytes"):
        fetch(f"{site.url}/net.safetensors", size=2000, max_bytes=1000)


def test_errors_of_a_server_are_tried_again_and_then_its_mirror(site):
    site.files["/mirror/net.safetensors"] = DATA
    site.statuses["/net.safetensors"] = [503, 429]
    urls = [f"{site.url}/net.safetensors", f"{site.url}/mirror/net.safetensors"]
    assert fetch(urls, sha256=SUM).read_bytes() == DATA
    assert [path for path, _ in site.seen] == ["/net.safetensors"] * 3
    site.seen.clear()
    site.statuses["/gone"], site.statuses["/down"] = [404], [500] * 3
    assert (
        fetch([f"{site.url}/gone", f"{site.url}/down", urls[1]], sha256=SUM, folder=cache_folder() / "b").read_bytes() == DATA
    )
    assert [path for path, _ in site.seen] == ["/gone", *["/down"] * 3, "/mirror/net.safetensors"]


def test_all_addresses_are_named_where_none_works(site):
    with pytest.raises(FetchError) as caught:
        fetch([f"{site.url}/a.pth", "http://127.0.0.1:9/a.pth"], sha256=SUM, retries=0)
    text = str(caught.value)
    assert "/a.pth: the server says 404" in text and "127.0.0.1:9/a.pth: the connection failed" in text
    assert f"by other means to {cache_folder()}" in text


def test_redirections_are_followed_to_safe_addresses(site):
    port = site.url.rpartition(":")[2]
    site.redirects = {
        "/moved": "/net.safetensors",
        "/elsewhere": f"http://localhost:{port}/net.safetensors",
        "/unsafe": "http://example.org/net.safetensors",
        "/file": "file:///etc/passwd",
        "/round": "/round",
    }
    assert fetch(f"{site.url}/moved", sha256=SUM).read_bytes() == DATA
    with pytest.warns(UserWarning), pytest.raises(FetchError, match="leads to another host, localhost; that takes a sha256"):
        fetch(f"{site.url}/elsewhere")
    for path, words in [("unsafe", "not HTTPS"), ("file", "not HTTPS"), ("round", "leads on more than 5 times")]:
        with pytest.raises(FetchError, match=words):
            fetch(f"{site.url}/{path}", sha256="0" * 64)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "RESTORALIB_OFFLINE", None])
def test_offline_is_told_and_the_cache_still_serves(site, monkeypatch, variable):
    url, given = f"{site.url}/net.safetensors", {"local_files_only": True} if variable is None else {}
    if variable:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(Offline, match=r"net.safetensors is not in the cache, and .*; fetch it with a network, or copy it to"):
        fetch(url, sha256=SUM, **given)
    assert not site.seen
    if variable:
        monkeypatch.delenv(variable)
    path = fetch(url, sha256=SUM)
    if variable:
        monkeypatch.setenv(variable, "1")
    assert fetch(url, sha256=SUM, **given) == path and len(site.seen) == 1


def test_progress_counts_bytes_and_cancels(site):
    calls = []
    with pytest.raises(Cancelled):
        fetch(f"{site.url}/net.safetensors", sha256=SUM, progress=lambda *call: calls.append(call) or call[0] < 300_000)
    assert calls[0] == (0, 600_000, "fetch")
    done = []
    fetch(f"{site.url}/net.safetensors", sha256=SUM, progress=lambda *call: done.append(call))
    assert done[0][0] > 0 and done[-1] == (600_000, 600_000, "fetch")


def test_files_of_the_hub_come_from_its_endpoint(site, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{site.url}/")
    site.files = {"/org/net/resolve/main/a/net.pth": DATA, "/org/net/resolve/v1.0/net.pth": DATA}
    assert fetch("hf:org/net/a/net.pth", sha256=SUM).read_bytes() == DATA
    assert fetch("hf:org/net@v1.0/net.pth", sha256=SUM, folder=cache_folder() / "b").read_bytes() == DATA
    for address in ("hf:org", "hf:org/net", "hf:org/../../net.pth"):
        with pytest.raises(ValueError, match="hf:ORG/NAME/FILE"):
            fetch(address)


def test_models_by_their_names(site):
    name, bundled = next(iter(BUNDLED.items()))
    assert fetch(name) == bundled.file
    with pytest.raises(
        ValueError, match=r"no address of the weights of nafnet_sidd_width32 is known .*github.com/megvii-research"
    ):
        fetch("nafnet_sidd_width32")
    with pytest.raises(ValueError, match="unknown model 'nafnett'"):
        fetch("nafnett")


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "ftp://example.org/a", "file:///etc/passwd", "https:///a", "http://127.0.0.1.example.org/a"]
)
def test_only_https_is_fetched(url):
    with pytest.raises(ValueError, match="should begin with https://"):
        fetch(url)
    assert check_url("https://example.org/a") == "https://example.org/a"


def test_arguments_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        fetch("https://example.org/a", sha256="abc")
    with pytest.raises(ValueError, match="no address"):
        fetch([])


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x.org/a/net.pth?download=1", "net.pth"),
        ("https://x.org/a/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("https://x.org/a/%2e%2e", "file"),
        ("https://x.org/a/b%00c:d.pth", "b_c_d.pth"),
        ("https://x.org/", "file"),
        ("https://x.org/-rf", "rf"),
    ],
)
def test_names_of_files_stay_in_their_folder(url, name):
    assert file_name(url) == name
