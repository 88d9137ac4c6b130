"""weights get: what the network brings is the right file, whole, or nothing."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.weights_files import BOTH_WAYS, NAME, digest, in_cache, one_line
from cli.weights_server import Served, serving
from gansweep import weights
from gansweep.cli import main
from gansweep.metrics import inception


@pytest.fixture(autouse=True)
def cache(weights_cache: Path) -> Path:
    return weights_cache


@pytest.fixture
def server(small_file: Path) -> Iterator[Served]:
    with serving(small_file.read_bytes()) as served:
        yield served


@pytest.mark.parametrize("path", ["/good", "/moved", "/unannounced"])
def test_a_file_that_is_fetched(
    path: str, server: Served, small_file: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "get", "--from", server.url + path]) == 0
    assert capsys.readouterr() == (f"{cache / NAME} is kept, SHA-256 {digest(small_file)}\n", "")
    assert in_cache(cache) == [NAME] and digest(cache / NAME) == digest(small_file)
    asked = list(server.asked)
    assert main(["weights", "get", "--from", server.url + path]) == 0
    assert "is there already" in capsys.readouterr().out and server.asked == asked


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/nowhere", 3, "answers 404 Not Found"),
        ("/cut", 3, "broke off after"),
        ("/page", 2, "has 5 bytes"),
        ("/long", 2, "has 1,099,511,627,776 bytes"),
    ],
)
def test_what_the_network_brings_instead(
    path: str, status: int, words: str, server: Served, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "get", "--from", server.url + path]) == status
    told = one_line(capsys)
    assert words in told and server.url + path in told
    assert (BOTH_WAYS[1] in told) == (status == 3)
    assert in_cache(cache) == []


def test_another_file_that_is_fetched(server: Served, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.content = b"x" * 2**21
    assert main(["weights", "get", "--from", f"{server.url}/good"]) == 2
    told = one_line(capsys)
    assert hashlib.sha256(server.content).hexdigest() in told and inception.SHA256_PREFIX in told
    assert in_cache(cache) == []


def test_no_server(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    assert main(["weights", "get", "--from", url]) == 3
    assert (
        one_line(capsys)
        == f"gansweep: {url} cannot be fetched: Connection refused; if you have the file: {BOTH_WAYS[1]}\n"
    )
    assert in_cache(cache) == []


def test_a_server_that_falls_silent(
    server: Served, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights, "STALL_S", 0.3)
    assert main(["weights", "get", "--from", f"{server.url}/slow"]) == 3
    assert "timed out" in one_line(capsys)
    assert in_cache(cache) == []


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("file:///no/such/file.pth", 3),
        ("http://", 3),
        ("http://127.0.0.1:port/", 3),
        ("http://[/", 3),
        ("http://127.0.0.1:1/ä b", 3),
        ("ftp://127.0.0.1/x", 2),
        ("data:,x", 2),
        ("here.pth", 2),
        ("", 2),
    ],
)
def test_a_url_that_leads_nowhere(url: str, status: int, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "get", "--from", url]) == status
    one_line(capsys)
    assert in_cache(cache) == []


def test_without_a_url_the_public_place_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def refuse(self: object, request: urllib.request.Request, **_: object) -> None:
        asked.append(request.full_url)
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)
    assert main(["weights", "get"]) == 3
    assert "cannot be fetched: Name or service not known" in one_line(capsys)
    assert asked == [inception.SOURCE] and asked[0].startswith("https://")


def test_a_safe_url_is_never_left_for_an_unsafe_one() -> None:
    request = urllib.request.Request("https://here.example/x")
    follow = weights._Redirects().redirect_request
    with pytest.raises(urllib.error.URLError, match="sends on to http://there"):
        follow(request, None, 302, "Found", {}, "http://there.example/x")
    assert follow(request, None, 302, "Found", {}, "https://there.example/x").full_url == "https://there.example/x"


FETCHING = """
import sys
from gansweep.cli import main
sys.exit(main(["weights", "get", "--from", sys.argv[1]]))
"""


def test_a_download_that_is_stopped_leaves_nothing(server: Served, cache: Path) -> None:
    command = [sys.executable, "-c", FETCHING, f"{server.url}/slow"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.begun.wait(60)
    deadline = time.monotonic() + 20
    while in_cache(cache) == [] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(in_cache(cache)) == 1 and NAME not in in_cache(cache)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "gansweep: stopped\n")
    assert in_cache(cache) == []


def test_what_a_killed_download_left_goes_with_the_next(small_file: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (old := cache / f".{NAME}.1.part").touch()
    (living := cache / f".{NAME}.2.part").touch()
    os.utime(old, (0, 0))
    assert main(["weights", "add", "small.pth"]) == 0
    assert in_cache(cache) == [living.name, NAME]
