"""The download of makemore's names.txt, from servers on this machine."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jaxmore.data import download
from jaxmore.data.download import download_names
from jaxmore.errors import InputError
from tests.refusals import only_line

CONTENT = b"emma\nolivia\nava\n" * 1000


class Server(ThreadingHTTPServer):
    """Answers every GET with `content`, and may promise more bytes than it sends."""

    content = CONTENT
    promised = len(CONTENT)
    status = 200
    requests = 0
    daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/names.txt"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.promised))
        self.end_headers()
        self.wfile.write(self.server.content)  # HTTP/1.0: the connection is closed after this

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; the pinned sha256 is that of CONTENT."""
    import pooch

    folder = tmp_path / "cache"
    monkeypatch.setattr(pooch, "os_cache", lambda project: folder / project)
    monkeypatch.setattr(download, "NAMES_SHA256", hashlib.sha256(CONTENT).hexdigest())
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return folder / "jaxmore"


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def refused_url() -> str:
    """An address where nobody listens: the port was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/names.txt"


def test_download_fetches_once(
    server: Server, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = download_names(server.url)
    assert path == cache / "names.txt"
    assert path.read_bytes() == CONTENT
    assert download_names(server.url) == path
    assert download_names(refused_url()) == path
    assert server.requests == 1
    assert files_in(cache) == ["names.txt"]
    # No progress bar, as this is no terminal.
    assert capfd.readouterr() == ("", "")


def test_download_silences_the_log_of_pooch_for_itself_alone(
    server: Server,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pooch

    log = pooch.get_logger()  # known to nobody but pooch: caplog has to be attached by hand
    monkeypatch.setattr(log, "handlers", [caplog.handler])
    monkeypatch.setattr(log, "level", 15)
    path = download_names(server.url)
    assert log.level == 15
    path.unlink()
    server.status = 500
    with pytest.raises(InputError):
        download_names(server.url)
    assert log.level == 15
    assert not [record for record in caplog.records if record.name == log.name]


@pytest.mark.parametrize("promised", [len(CONTENT), None])
def test_download_shows_progress_on_a_terminal(
    server: Server,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    promised: int | None,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    if promised is None:
        monkeypatch.setattr(Handler, "send_header", lambda *_: None)
    download_names(server.url)
    shown = capsys.readouterr()
    assert "names.txt" in shown.err
    assert shown.out == ""

    download_names(server.url)
    assert "names.txt" not in capsys.readouterr().err
    (cache / "names.txt").unlink()
    download_names(server.url, progress=False)
    assert capsys.readouterr().err == ""


def test_download_refuses_other_content(server: Server, cache: Path) -> None:
    server.content = CONTENT.replace(b"emma", b"emmo")
    with pytest.raises(InputError) as error:
        download_names(server.url)
    message = only_line(error)
    assert server.url in message
    assert "does not match" in message
    assert files_in(cache) == []


def test_download_refuses_half_a_file(server: Server, cache: Path) -> None:
    server.content = CONTENT[: len(CONTENT) // 2]
    with pytest.raises(InputError) as error:
        download_names(server.url)
    assert "the connection was cut before the end of the file" in only_line(error)
    assert files_in(cache) == []


def test_download_refuses_half_a_file_of_unknown_length(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "send_header", lambda *_: None)
    server.content = CONTENT[: len(CONTENT) // 2]
    with pytest.raises(InputError, match="does not match"):
        download_names(server.url)
    assert files_in(cache) == []


@pytest.mark.parametrize(("status", "reason"), [(404, "404 Not Found"), (503, "503 Service")])
def test_download_names_the_http_error(
    server: Server, cache: Path, status: int, reason: str
) -> None:
    server.status = status
    with pytest.raises(InputError) as error:
        download_names(server.url)
    assert f"{server.url}: the server answered {reason}" in only_line(error)
    assert files_in(cache) == []


def test_download_without_a_network(cache: Path) -> None:
    url = refused_url()
    with pytest.raises(InputError) as error:
        download_names(url)
    assert only_line(error) == f"cannot download {url}: no connection (Connection refused)"
    assert files_in(cache) == []


def test_download_of_an_unknown_host(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError) as error:
        download_names("http://127.0.0.1:1/names.txt")
    assert only_line(error).endswith("no connection (Name or service not known)")
    assert files_in(cache) == []


@pytest.mark.parametrize("url", ["names.txt", "gopher://127.0.0.1/names.txt", "http://", ""])
@pytest.mark.usefixtures("cache")
def test_download_from_no_address(url: str) -> None:
    with pytest.raises(InputError) as error:
        download_names(url)
    assert only_line(error).startswith(f"cannot download {url}: ")


def test_download_replaces_a_damaged_file(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "names.txt").write_bytes(CONTENT[:100])
    with pytest.raises(InputError):
        download_names(refused_url())
    assert download_names(server.url).read_bytes() == CONTENT
    assert files_in(cache) == ["names.txt"]


def test_download_into_a_folder_that_cannot_be(server: Server, cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(InputError) as error:
        download_names(server.url)
    assert "cannot download" in only_line(error)
