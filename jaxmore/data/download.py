"""makemore's names.txt from the net into the user's cache folder: the one file that connects."""

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

from jaxmore.errors import InputError

NAMES_URL = "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"
# pragma: allowlist nextline secret
NAMES_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"


def download_names(url: str = NAMES_URL, progress: bool = True) -> Path:
    """Fetch makemore's names.txt (32,033 names) into the user's cache folder, once.

    The file appears in the cache only when its sha256 is `NAMES_SHA256`. If it is there already,
    no connection is made; if it was damaged since, it is fetched again.

    Args:
        url: where the file is.
        progress: show a progress bar, provided that stderr is a terminal.

    Returns:
        The path of the cached file.

    Raises:
        InputError: no connection, an HTTP error, a connection cut half way, the wrong content, or
            a cache folder that cannot be written. The cache is left as it was.
    """
    import pooch  # pyright: ignore[reportMissingTypeStubs]

    # Any: pooch 1.9 annotates its downloaders with the parameters of its processors.
    fetch: Any = partial(_fetch, visible=progress and sys.stderr.isatty())
    log = pooch.get_logger()
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        path = pooch.retrieve(  # pyright: ignore[reportUnknownMemberType]
            url,
            known_hash=f"sha256:{NAMES_SHA256}",
            fname="names.txt",
            path=pooch.os_cache("jaxmore"),
            downloader=fetch,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot download {url}: {_reason(error)}") from error
    finally:
        log.setLevel(level)
    return Path(path)


def _fetch(url: str, file: str, pooch: object, visible: bool) -> None:
    # In place of pooch's own downloader, which leaves the connection open when it is cut and
    # counts kilobytes of decompressed text against a compressed total.
    import requests
    from rich.console import Console
    from rich.progress import Progress

    with (
        requests.get(
            url, stream=True, timeout=30, headers={"Accept-Encoding": "identity"}
        ) as response,
        Progress(console=Console(stderr=True), transient=True, disable=not visible) as bar,
        open(file, "wb") as out,
    ):
        response.raise_for_status()
        total = response.headers.get("Content-Length")
        task = bar.add_task("names.txt", total=int(total) if total else None)
        for chunk in response.iter_content(8192):
            out.write(chunk)
            bar.advance(task, len(chunk))


def _reason(error: OSError | ValueError) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut before the end of the file"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return f"no connection ({_system_error(error)})"
    return str(error)


def _system_error(error: OSError) -> str:
    # requests and urllib3 wrap what the system said ("Name or service not known") three deep.
    cause: BaseException | None = error
    while cause := cause.__context__:
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
    return str(error)
