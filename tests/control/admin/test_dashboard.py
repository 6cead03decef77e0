from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest

from tcplb.config.admin import AdminConfig
from tcplb.control.admin.page import DIRECTORY, read_files
from tcplb.control.admin.server import AdminServer
from tests.control.admin.fake import FakeControl

VENDOR = DIRECTORY / "vendor"
OURS = sorted(path for path in DIRECTORY.iterdir() if path.is_file())
MODULES = [path for path in OURS if path.suffix == ".js"]
STYLES = [path for path in OURS if path.suffix == ".css"]
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
# A name of a format that nobody fetches.
NAMESPACE = "http://www.w3.org/2000/svg"


class Page(HTMLParser):
    """Collects the tags of a page, and what is written inside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style") and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def index() -> Page:
    page = Page()
    page.feed((DIRECTORY / "index.html").read_text())
    page.close()
    return page


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def imports(module: Path) -> Iterator[Path]:
    for name in re.findall(r'(?:from|import) "([^"]+)"', module.read_text()):
        assert name.startswith("./"), f"{module.name} imports {name}"
        yield module.parent / name


def test_each_vendored_file_has_the_sum_that_its_list_says() -> None:
    listed = re.findall(
        r"^([0-9a-f]{64})  (\S+)$", (VENDOR / "README.md").read_text(), re.MULTILINE
    )
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir()}
    del sums["README.md"]

    assert {name: total for total, name in listed} == sums


def test_each_vendored_file_has_a_version_a_source_and_a_licence() -> None:
    read_me = (VENDOR / "README.md").read_text()

    for path in VENDOR.glob("*.[jc]*s"):
        (row,) = re.findall(rf"^\| `{re.escape(path.name)}` \|.*$", read_me, re.MULTILINE)
        assert re.search(r"\d+\.\d+\.\d+", row)
        assert re.search("MIT|Apache", row)
    for name in ("htm", "preact", "uplot"):
        assert "License" in (VENDOR / f"LICENSE.{name}.txt").read_text()


def test_the_page_has_no_inline_script_and_no_inline_style() -> None:
    page = index()

    assert page.inline == []
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        assert tag != "script" or attributes["src"]


@pytest.mark.parametrize("module", MODULES, ids=names(MODULES))
def test_a_module_writes_no_markup_that_the_policy_forbids(module: Path) -> None:
    code = module.read_text()

    # A handler is a function and a style an object: Preact sets both without markup.
    assert not re.search(r'\sstyle="', code)
    assert not re.search(r'\son[a-z]+="', code, re.IGNORECASE)
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in code
    assert "new Function" not in code


@pytest.mark.parametrize("path", OURS, ids=names(OURS))
def test_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    text = path.read_text().replace(NAMESPACE, "")

    assert "://" not in text
    assert not re.search(r"""["'(]//\w""", text)
    assert "@import" not in text


@pytest.mark.parametrize("name", ["htm-preact.js", "uPlot.js", "uPlot.css"])
def test_vendored_code_fetches_nothing(name: str) -> None:
    text = (VENDOR / name).read_text()

    assert not re.search(r"\bfetch\(|XMLHttpRequest|@import|\burl\(|\beval\(|new Function", text)


def test_all_that_the_page_names_is_there() -> None:
    files = read_files()
    named = [
        value
        for _, attributes in index().tags
        for name, value in attributes.items()
        if name in ("src", "href") and value is not None
    ]

    assert "static/app.js" in named
    assert [name for name in named if name.removeprefix("static/") not in files] == []


def test_each_module_and_style_is_used() -> None:
    reached: set[Path] = set()
    todo = [DIRECTORY / "app.js"]
    while todo:
        module = todo.pop()
        if module not in reached and module.parent == DIRECTORY:
            todo.extend(imports(module))
        reached.add(module)

    assert set(MODULES) <= reached
    assert VENDOR / "htm-preact.js" in reached
    text = (DIRECTORY / "index.html").read_text()
    assert [each.name for each in STYLES if f"static/{each.name}" not in text] == []


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not there to parse modules")
@pytest.mark.parametrize("module", MODULES, ids=names(MODULES))
def test_a_module_is_valid(module: Path) -> None:
    # From stdin, because a file without a package.json is taken for another kind of script.
    done = subprocess.run(
        ["node", "--input-type=module", "--check"],
        input=module.read_bytes(),
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("path", [*MODULES, *STYLES], ids=names([*MODULES, *STYLES]))
def test_what_is_ours_is_written_to_be_read(path: Path) -> None:
    lines = path.read_text().splitlines()

    assert re.match(r"//|/\*", lines[0]), "it does not say what it is for"
    assert len(lines) <= 250
    assert max(len(line) for line in lines) <= 120


async def test_every_file_is_served_with_its_type() -> None:
    server = AdminServer(
        FakeControl(),
        AdminConfig(bind="127.0.0.1:0"),
        token="nobody-changes-this",  # noqa: S106 - of a fake
    )
    await server.start()
    try:
        async with aiohttp.ClientSession(server.address) as client:
            for name, file in read_files().items():
                async with client.get(f"/static/{name}") as answer:
                    assert answer.status == 200
                    assert answer.content_type == TYPES[Path(name).suffix]
                    assert await answer.read() == file.content
            async with client.get("/") as answer:
                assert answer.content_type == "text/html"
                assert await answer.read() == (DIRECTORY / "index.html").read_bytes()
                policy = answer.headers["Content-Security-Policy"]
    finally:
        await server.close()

    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy


def test_every_file_of_the_page_is_in_the_list_of_the_server() -> None:
    files = {path.relative_to(DIRECTORY).as_posix() for path in DIRECTORY.rglob("*.*")}

    assert files - set(read_files()) == {"vendor/README.md"}
