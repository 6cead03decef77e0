"""The dashboard's files: a fixed list, read once when the server starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent / "dashboard"
INDEX = "index.html"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_NO_PAGE = (
    b"<!doctype html>\n<html lang=en><meta charset=utf-8><title>tcplb</title>\n<h1>tcplb</h1>\n"
    b"<p>The dashboard is not part of this installation. The API is: "
    b"<a href=/api/v1/status>/api/v1/status</a>, <a href=/metrics>/metrics</a>.\n"
)


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent."""

    content: bytes
    content_type: str


def read_files(directory: Path = DIRECTORY) -> dict[str, File]:
    """The files below `directory` by their paths from there, and always an index.html.

    What has another type than pages have is left out. Raises OSError if one cannot be read.
    """
    files = {INDEX: File(_NO_PAGE, _TYPES[".html"])}
    for path in sorted(directory.rglob("*")):
        content_type = _TYPES.get(path.suffix)
        if content_type is not None and path.is_file():
            name = path.relative_to(directory).as_posix()
            files[name] = File(path.read_bytes(), content_type)
    return files
