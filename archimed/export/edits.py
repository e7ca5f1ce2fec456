"""Changes to Python source that keep its form and its comments: pieces are cut out or replaced, the rest stays."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Bytes from start to end of a text give way to others."""

    start: int
    end: int
    text: str = ""


class Source:
    """A text, its syntax tree, and where each node of it stands."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._bytes = text.encode()
        self._lines = [0]
        for line in self._bytes.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def start(self, node: ast.AST) -> int:
        """The byte that a node begins at, decorators not counted."""
        return self._lines[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined, no-any-return]

    def end(self, node: ast.AST) -> int:
        """The byte after a node."""
        return self._lines[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined, no-any-return]

    def of(self, node: ast.AST) -> str:
        """The text of a node."""
        return self._bytes[self.start(node) : self.end(node)].decode()

    def between(self, start: int, end: int) -> str:
        """The text between two bytes."""
        return self._bytes[start:end].decode()

    def lines_of(self, node: ast.AST) -> tuple[int, int]:
        """The bytes of the whole lines of a node, its decorators with it."""
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])  # type: ignore[attr-defined]
        return self._lines[first - 1], self._lines[node.end_lineno]  # type: ignore[attr-defined]

    def text_end(self, line: int) -> int:
        """The byte after the last character of a line, counted from 1."""
        return self._lines[line] - 1

    def header_end(self, function: ast.FunctionDef) -> int:
        """The byte after the colon that ends the first lines of a function."""
        return self._bytes.rfind(b":", 0, self.start(function.body[0])) + 1

    def without_lines(self, node: ast.AST) -> Edit:
        """Cut out the lines of a node."""
        return Edit(*self.lines_of(node))

    def without_item(self, node: ast.AST, start: int | None = None) -> Edit:
        """Cut out an item of a list with the comma after it, or before it where it is the last."""
        first, last = self.start(node) if start is None else start, self.end(node)
        after = last
        while self._bytes[after : after + 1] in (b" ", b"\n"):
            after += 1
        if self._bytes[after : after + 1] == b",":
            after += 1
            if self._bytes[after : after + 1] == b" ":
                return Edit(first, after + 1)
            line = self._bytes.rfind(b"\n", 0, first) + 1
            if self._bytes[after : after + 1] == b"\n" and not self._bytes[line:first].strip():
                return Edit(line, after + 1)  # an item on a line of its own
            return Edit(first, after)
        before = first
        while self._bytes[before - 1 : before] in (b" ", b"\n"):
            before -= 1
        if self._bytes[before - 1 : before] == b",":
            before -= 1
        else:
            before = first
        return Edit(before, last)

    def edited(self, edits: list[Edit]) -> str:
        """The text with these edits; of two that overlap the one that begins first."""
        parts, reached = [], 0
        for edit in sorted(edits, key=lambda one: (one.start, -one.end)):
            if edit.start >= reached:
                parts += [self._bytes[reached : edit.start], edit.text.encode()]
                reached = edit.end
        return b"".join([*parts, self._bytes[reached:]]).decode()


def until_settled(text: str, find: Callable[[Source], Iterator[Edit]]) -> str:
    """Apply the edits that are found, again and again, until none is left."""
    while edits := list(find(source := Source(text))):
        text = source.edited(edits)
    return text
