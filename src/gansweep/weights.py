"""The FID Inception's weights in the user's cache: taking a file, fetching it. Only `get` ever meets the network.

Whichever way it comes, a file is written beside its place, its digest taken on the way, and gets the name that judges
look for only when it is the right one: nobody ever finds half a file or another one there.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from gansweep.errors import Missing, RunFailed, UserError, nearest, refused_by_system
from gansweep.metrics import inception
from gansweep.metrics.fid_network import wanted_entries
from gansweep.metrics.weights import Weights, cache_folder, check_state_dict, read_state_dict, sha256_of

# The file has 96 MB. What is far from that is something else, and is not read at all.
LEAST_BYTES, MOST_BYTES = 10**6, 2**30
STALL_S = 30.0
_CHUNK_BYTES = 2**20
_PART = ".part"
_ABANDONED_S = 86400.0
_SCHEMES = ("https", "http", "file")
_OTHER_WAY = "if you have the file: gansweep weights add FILE"


def cached() -> Weights | None:
    """Return the cached file that the judge would take, right or not, with its digest; None when there is none."""
    there = [path for name in inception.FILE_NAMES if (path := cache_folder() / name).is_file()]
    return Weights(there[0], sha256_of(there[0])) if there else None


def is_right(weights: Weights) -> bool:
    """Say whether a file's digest is the public file's, as far as that is known."""
    return weights.sha256.startswith(inception.SHA256_PREFIX)


def add(file: Path) -> str:
    """Verify a file and copy it into the cache; returns what to tell.

    UserError when it is not the public weights file, RunFailed when the cache cannot be written.
    """
    if not file.is_file():
        what = "no such file"
        if file.is_symlink():
            what = "a link to nothing"
        elif file.exists():
            what = "a folder" if file.is_dir() else "no plain file"
        raise UserError(f"weights add {file}: {what}; give {inception.FILE_NAMES[0]}")
    _refuse_size(str(file), file.stat().st_size)
    return _keep(_content(file), str(file))


def get(url: str = inception.SOURCE) -> str:
    """Download the weights file into the cache, unless it is there; returns what to tell.

    Missing when the network does not bring it, UserError when it brings something else or the URL is none (https, http
    and file are taken), RunFailed when the cache cannot be written.
    """
    scheme = url.partition("://")[0]
    if scheme not in _SCHEMES or "://" not in url:
        hint = nearest(scheme, _SCHEMES) if "://" in url else f"; begin with https://, or {_OTHER_WAY}"
        raise UserError(f"weights get --from {url}: no URL that can be fetched{hint}")
    there = cached()
    if there is not None and is_right(there):
        return _already(there)
    return _keep(_received(url), url)


def _already(weights: Weights) -> str:
    return f"{weights.path} is there already, SHA-256 {weights.sha256}"


def _refuse_size(source: str, size_bytes: int) -> None:
    if not LEAST_BYTES <= size_bytes <= MOST_BYTES:
        found = "is empty" if size_bytes == 0 else f"has {size_bytes:,} bytes"
        raise UserError(f"{source} {found}; the FID Inception weights file has about 96 MB")


def _keep(chunks: Generator[bytes, None, None], source: str) -> str:
    """Write what comes from `source` beside its place, verify it, and only then give it its name."""
    place = cache_folder() / inception.FILE_NAMES[0]
    part = place.with_name(f".{place.name}.{uuid.uuid4().hex}{_PART}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep_abandoned(place.parent)
        with contextlib.closing(chunks):
            new = Weights(part, _write(chunks, part, source))
        _verify(new, source)
        there = cached()
        if there is not None and there.sha256 == new.sha256:
            return _already(there)
        os.replace(part, place)
        _sync_folder(place.parent)
    except OSError as error:  # those of the source have become ours on the way
        raise RunFailed(
            f"{place} could not be written, and nothing of it was kept: {refused_by_system(error)}; "
            f"XDG_CACHE_HOME chooses another place"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return f"{place} is kept, SHA-256 {new.sha256}"


def _write(chunks: Iterator[bytes], part: Path, source: str) -> str:
    """Write the chunks to `part`, to the disk itself; returns their SHA-256."""
    digest, size_bytes = hashlib.sha256(), 0
    with part.open("xb") as file:
        for chunk in chunks:
            size_bytes += len(chunk)
            if size_bytes > MOST_BYTES:  # of a stream, the size is known only now
                break
            digest.update(chunk)
            file.write(chunk)
        _refuse_size(source, size_bytes)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _verify(weights: Weights, source: str) -> None:
    """Refuse (UserError) a file that is not the public one: by its digest first, so that no other is even parsed."""
    if not is_right(weights):
        raise UserError(
            f"{source} is not the FID Inception weights file: its SHA-256 is {weights.sha256}, "
            f"the right one's begins with {inception.SHA256_PREFIX}"
        )
    check_state_dict(read_state_dict(weights, source), wanted_entries(), source)


def _content(file: Path) -> Generator[bytes, None, None]:
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise UserError(f"weights add: {refused_by_system(error)}") from None


def _received(url: str) -> Generator[bytes, None, None]:
    """Yield what a URL holds, with a bar on stderr when that is a terminal; Missing when it does not come whole."""
    opener = urllib.request.build_opener(_Redirects)
    received = 0
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "gansweep"})
        with opener.open(request, timeout=STALL_S) as answer:
            length = answer.headers.get("Content-Length")
            announced = int(length) if length else None
            if announced is not None:
                _refuse_size(url, announced)
            with _bar(announced) as advance:
                while chunk := answer.read(_CHUNK_BYTES):
                    received += len(chunk)
                    advance(len(chunk))
                    yield chunk
        if announced is not None and received < announced:
            raise Missing(f"{url} broke off after {received:,} of {announced:,} bytes; try again, or {_OTHER_WAY}")
    except urllib.error.HTTPError as error:
        raise Missing(f"{url} answers {error.code} {error.reason}; {_OTHER_WAY}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        why = refused_by_system(cause) if isinstance(cause, OSError) else str(cause) or type(cause).__name__
        raise Missing(f"{url} cannot be fetched: {next(iter(why.splitlines()), '')}; {_OTHER_WAY}") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection, but never from https to what anybody on the way can change."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request for the new place; URLError when that is less safe than the old one."""
        if urllib.parse.urlsplit(newurl).scheme not in ("https", req.type):
            raise urllib.error.URLError(f"it sends on to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def _bar(total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Yield what tells a bar of so many further bytes; the bar leaves no trace."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(file=sys.stderr)
    columns = (TextColumn("weights"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("weights", total=total_bytes)
        yield lambda further: progress.advance(task, further)


def _sweep_abandoned(folder: Path) -> None:
    """Remove what a download that was killed outright left here, once no living one can be that slow."""
    for part in folder.glob(f".*{_PART}"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED_S:
                part.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable; file systems that cannot sync a folder are let be."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
