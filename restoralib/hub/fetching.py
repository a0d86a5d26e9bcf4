"""Files from the network: whole, verified, and only over HTTPS."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urljoin, urlsplit

logger = logging.getLogger(__name__)

MAX_BYTES = 2**33
"""Of a file whose size nobody tells."""

Progress = Callable[[int, int, str], Any]

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_BLOCK = 2**18
_REDIRECTS = 5
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # statuses that may pass


class FetchError(OSError):
    """A file could not be had; the message names every address that was tried, and what to do."""


class Offline(FetchError):
    """The network was not to be used, and the file is not there."""


def cache_folder() -> Path:
    """Where fetched files are kept: the folder of the environment variable RESTORALIB_HOME, or ~/.cache/restoralib."""
    return Path(os.environ.get("RESTORALIB_HOME") or Path.home() / ".cache" / "restoralib")


def is_offline() -> bool:
    """Whether an environment variable forbids the network: HF_HUB_OFFLINE, or RESTORALIB_OFFLINE."""
    values = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "RESTORALIB_OFFLINE"))
    return any(value.strip().lower() in ("1", "true", "yes", "on") for value in values)


def fetch(
    source: str | Sequence[str],
    *,
    sha256: str | None = None,
    size: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    max_bytes: int = MAX_BYTES,
    retries: int = 2,
    timeout: float = 30.0,
    local_files_only: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Fetch a file once, and give its path then and later.

    A download that breaks off goes on where it was, in this call or a later one; the file is in the cache whole or not at all,
    and one that is there is verified again. Of several addresses the next is tried where one fails.

    Args:
        source: an address that begins with https://, or several of the same file; "hf:ORG/NAME/FILE" or
            "hf:ORG/NAME@REVISION/FILE" for the Hub, on the host of HF_ENDPOINT; or a name of `list_models()` whose
            weights are in the package or have known addresses. Plain http:// is for this machine alone (127.0.0.1, localhost).
        sha256: of the file, in hexadecimal; without, a warning says that nobody knows what came.
        size: of the file in bytes.
        folder: of the cache; None for `weights` in `cache_folder()`.
        max_bytes: more are refused, before the download where the server tells their number.
        retries: how often an address is tried again after a broken connection or an error of the server that may pass.
        timeout: seconds without a byte that end an attempt.
        local_files_only: take only what is in the cache; so do HF_HUB_OFFLINE=1 and RESTORALIB_OFFLINE=1.
        progress: called with (done, total, "fetch") in bytes, total = 0 where it is not known; its False ends the work, and a
            later call goes on.

    Returns:
        The file.

    Raises:
        ValueError: an address is none of these, the sum is no SHA-256, or the model has no known address.
        FetchError: no address gave the file. It is an OSError.
        Offline: the network was not to be used, and the file is not in the cache.
        Cancelled: `progress` returned False.
    """
    addresses = [source] if isinstance(source, str) else list(source)
    if not addresses:
        raise ValueError("there is no address to fetch from; pass https://…")
    if isinstance(source, str) and "://" not in source and not source.startswith("hf:"):
        found = _of_model(source)
        if isinstance(found, Path):
            return found
        addresses, sha256, size = found
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256 should be 64 hexadecimal digits, got {sha256!r}")
    if size is not None and size > max_bytes:
        raise ValueError(f"the file has {size:,} bytes, more than max_bytes={max_bytes:,}; pass a larger one to allow it")
    urls = [check_url(_resolve(address)) for address in addresses]
    wanted = _Wanted(urls, sha256.lower() if sha256 else None, size, max_bytes, retries, timeout, progress)
    place = Path(folder) if folder is not None else cache_folder() / "weights"
    key = wanted.sha256 or hashlib.sha256(urls[0].encode()).hexdigest()
    target = place / key[:16] / file_name(urls[0])
    if target.exists() and wanted.is_right(target):
        return target
    if local_files_only or is_offline():
        why = "local_files_only=True" if local_files_only else "HF_HUB_OFFLINE or RESTORALIB_OFFLINE is set"
        raise Offline(f"{target.name} is not in the cache, and {why}; fetch it with a network, or copy it to {target}")
    if wanted.sha256 is None:
        warnings.warn(f"{target.name} comes without a SHA-256, so that nobody knows what came; pass sha256=…", stacklevel=2)
    target.parent.mkdir(parents=True, exist_ok=True)
    wanted.fetch_to(target)
    return target


def check_url(url: str) -> str:
    """An address that may be fetched.

    Raises:
        ValueError: it is not HTTPS; plain HTTP is for this machine alone.
    """
    parts = urlsplit(url)
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)):
        return url
    raise ValueError(f"an address should begin with https://, got {url!r}; what comes over others can be changed on the way")


def file_name(url: str) -> str:
    """A name for the file of an address that is safe in any folder."""
    name = re.sub(r"[^\w.+-]", "_", unquote(urlsplit(url).path).rsplit("/", 1)[-1]).lstrip(".-")[-100:]
    return name or "file"


@dataclass(frozen=True)
class _Wanted:
    """A file that is fetched.

    Args:
        urls: where it may be had.
        sha256: of its bytes.
        size: in bytes.
        max_bytes: most that are taken.
        retries: of each address.
        timeout: in seconds.
        progress: is told of bytes.
    """

    urls: list[str]
    sha256: str | None
    size: int | None
    max_bytes: int
    retries: int
    timeout: float
    progress: Progress | None

    def is_right(self, path: Path) -> bool:
        """Whether a file has the size and the sum that are asked for."""
        if self.size is not None and path.stat().st_size != self.size:
            return False
        return self.sha256 is None or _sum(path) == self.sha256

    def fetch_to(self, target: Path) -> None:
        """Download, from the first address that gives the right file."""
        part = target.with_name(f"{target.name}.part")
        with _alone(target.with_name(f"{target.name}.lock")):
            if target.exists() and self.is_right(target):
                return  # another process was faster
            failures = []
            for url in self.urls:
                reason = self._try(url, part)
                if reason is None:
                    os.replace(part, target)
                    _origin(part).unlink(missing_ok=True)
                    return
                logger.warning("%s: %s", url, reason)
                failures.append(f"{url}: {reason}")
        raise FetchError(
            f"{target.name} could not be fetched: {'; '.join(failures)}. Try again later, which goes on where it was, or "
            f"download it by other means to {target}"
        )

    def _try(self, url: str, part: Path) -> str | None:
        """Download from one address; why it failed, None where the file is right."""
        reason = "it was not tried"
        for attempt in range(self.retries + 1):
            try:
                self._download(url, part)
            except _Final as error:
                return str(error)
            except urllib.error.HTTPError as error:
                reason = f"the server says {error.code} {error.reason}"
                if error.code not in _AGAIN:
                    return reason
                wait = _retry_after(error.headers.get("Retry-After"))
            except (OSError, http.client.HTTPException) as error:
                reason = f"the connection failed ({getattr(error, 'reason', None) or error or type(error).__name__})"
                wait = None
            else:
                return self._verdict(part)
            if attempt < self.retries:
                time.sleep(min(30.0, 0.2 * 2**attempt if wait is None else wait))
        return reason

    def _verdict(self, part: Path) -> str | None:
        """Why a whole download is not the file, None where it is; what is wrong is deleted."""
        if self.is_right(part):
            return None
        length = part.stat().st_size
        found = f"{length:,} bytes in place of {self.size:,}" if self.size not in (None, length) else f"SHA-256 {_sum(part)}"
        part.unlink()
        _origin(part).unlink(missing_ok=True)
        expected = f", expected {self.sha256}" if self.sha256 and found.startswith("SHA") else ""
        return f"it gave another file ({found}{expected}), which was deleted"

    def _download(self, url: str, part: Path) -> None:
        """Bring a partial file to its end.

        Raises:
            _Final: another attempt at this address would not help.
            OSError, HTTPException: it broke off.
        """
        have = part.stat().st_size if part.exists() else 0
        known = _read_origin(part)
        # Bytes of another address continue these only where the sum tells at the end whether they fitted.
        if have and not (self.sha256 or (known.get("url") == url and known.get("etag"))):
            have = 0
        headers = {"User-Agent": "restoralib", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if known.get("url") == url and known.get("etag"):
                headers["If-Range"] = known["etag"]
        try:
            response = self._open(url, headers)
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # what is there is longer than the file, or already all of it
                if self.sha256 and self.is_right(part):
                    return
                part.unlink()
                raise ConnectionError("the partial file did not fit and was dropped") from error
            raise
        with response:
            begins = _begin_of(response.headers.get("Content-Range")) if response.status == 206 else 0
            if begins not in (0, have):
                raise _Final(f"the server went on at byte {begins:,} in place of {have:,}")
            have = begins
            length = response.headers.get("Content-Length")
            total = have + int(length) if length and length.isdecimal() else 0
            self._check_length(total, part, have)
            etag = response.headers.get("ETag") or ""
            origin = {"url": url, "etag": "" if etag.startswith("W/") else etag}
            _origin(part).write_text(json.dumps(origin), encoding="utf-8")
            with part.open("ab" if have else "wb") as file:
                self._copy(response, file, have, total)
        if total and part.stat().st_size < total:
            raise ConnectionError(f"it ended after {part.stat().st_size:,} of {total:,} bytes")

    def _check_length(self, total: int, part: Path, have: int) -> None:
        if total > self.max_bytes:
            raise _Final(f"it has {total:,} bytes, more than max_bytes={self.max_bytes:,}")
        if self.size is not None and total not in (0, self.size):
            raise _Final(f"it has {total:,} bytes in place of {self.size:,}")
        free = shutil.disk_usage(part.parent).free
        if total - have > free:
            raise _Final(f"it needs {total - have:,} bytes, and {part.parent} has {free:,} free")

    def _copy(self, response: Any, file: IO[bytes], have: int, total: int) -> None:
        from restoralib.restoration.errors import Cancelled

        limit = min(self.max_bytes, self.size) if self.size is not None else self.max_bytes
        while True:
            if self.progress and self.progress(have, total or self.size or 0, "fetch") is False:
                raise Cancelled(f"cancelled after {have:,} bytes")
            block = response.read(_BLOCK)
            if not block:
                return
            have += len(block)
            if have > limit:
                raise _Final(f"it gave more than {limit:,} bytes")
            file.write(block)

    def _open(self, url: str, headers: dict[str, str]) -> Any:
        """The answer to a request, after its redirections; to another host only where the file's sum is known."""
        opener = urllib.request.build_opener(_NoRedirect)
        for _ in range(_REDIRECTS + 1):
            request = urllib.request.Request(url, headers=headers)  # noqa: S310 - check_url() has seen it
            try:
                return opener.open(request, timeout=self.timeout)
            except urllib.error.HTTPError as error:
                if error.code not in (301, 302, 303, 307, 308):
                    raise
                following = urljoin(url, error.headers.get("Location", ""))
                error.close()
            try:
                check_url(following)
            except ValueError:
                raise _Final(f"it leads to {following}, which is not HTTPS") from None
            if self.sha256 is None and urlsplit(following).hostname != urlsplit(url).hostname:
                raise _Final(f"it leads to another host, {urlsplit(following).hostname}; that takes a sha256")
            url = following
        raise _Final(f"it leads on more than {_REDIRECTS} times")


class _Final(Exception):
    """An address is not to be tried again."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves redirections to the caller, who looks at them."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _resolve(address: str) -> str:
    """The URL of a file on the Hub; other addresses are themselves.

    Raises:
        ValueError: it names no file.
    """
    if not address.startswith("hf:"):
        return address
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+?)(?:@([\w./-]+?))?/([\w./-]+)", address)
    if not match or ".." in address:
        raise ValueError(f"a file on the Hub is hf:ORG/NAME/FILE or hf:ORG/NAME@REVISION/FILE, got {address!r}")
    repository, revision, name = match.groups()
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return f"{endpoint}/{repository}/resolve/{revision or 'main'}/{name}"


def _of_model(name: str) -> Path | tuple[list[str], str | None, int | None]:
    """The bundled file of a model, or the addresses, the sum and the size of its weights.

    Raises:
        ValueError: the name is unknown, or nobody knows an address.
    """
    from restoralib.zoo import weights_source

    return weights_source(name)


def _sum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _origin(part: Path) -> Path:
    """Beside a partial file: where it comes from."""
    return part.with_name(f"{part.name}.json")


def _read_origin(part: Path) -> dict[str, str]:
    try:
        known = json.loads(_origin(part).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _begin_of(content_range: str | None) -> int:
    match = re.match(r"bytes (\d+)-", content_range or "")
    return int(match.group(1)) if match else -1


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number or a date."""
    if not value:
        return None
    if value.isdecimal():
        return float(value)
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process downloads the same file; the system lets go of the lock when a process ends."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes would write the same bytes
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # the file stays: who waits for it would hold one that nobody else sees
