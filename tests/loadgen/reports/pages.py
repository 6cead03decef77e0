"""Reads pages of the load generator, strictly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from tcplb.loadgen.reports.page import to_html
from tcplb.loadgen.reports.report import to_report
from tcplb.loadgen.result import RunResult


@dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)

    def all(self, tag: str, kind: str | None = None) -> list[Node]:
        """What is below of this tag (and class), in the order of the page."""
        return [
            node
            for node in self
            if node.tag == tag
            and (kind is None or kind in node.attributes.get("class", "").split())
        ]

    @property
    def text(self) -> str:
        return "".join(
            child if isinstance(child, str) else child.text for child in self.children
        ).strip()

    def __iter__(self) -> Iterator[Node]:
        for child in self.children:
            if isinstance(child, Node):
                yield child
                yield from child


class Reader(HTMLParser):
    """Reads a page into nodes, and takes no end tag that is missing, or too many."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        node = Node(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(node)
        if tag != "meta":
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def close(self) -> None:
        super().close()
        assert self._open == [self.root]


def read(written: str) -> Node:
    reader = Reader()
    reader.feed(written)
    reader.close()
    return reader.root


def page(*results: RunResult) -> Node:
    return read(to_html([to_report(each) for each in results]))


def chart(root: Node, title: str) -> Node:
    """The SVG under this title."""
    (found,) = [
        figure for figure in root.all("figure") if figure.all("figcaption")[0].text == title
    ]
    return found.all("svg")[0]


def table(root: Node, caption: str) -> list[list[str]]:
    """The cells of the rows of the table with this caption."""
    (found,) = [node for node in root.all("table") if node.all("caption")[0].text == caption]
    return [
        [cell.text for cell in row if cell.tag in {"td", "th"}]
        for row in found.all("tbody")[0].all("tr")
    ]


def titles(root: Node) -> list[str]:
    return [node.text for svg in root.all("svg") for node in svg.all("title")]
