"""What some names need to be defined: functions, classes and constants, and their own needs, out of their files."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from archimed.export.edits import Edit, Source
from archimed.export.expressions import Reference, UnwritableError
from archimed.export.specialising import specialised

OWN = "archimed"
ERRORS = "archimed.errors"  # which the specialised text does not use
ALWAYS = ("forward",)  # methods that PyTorch calls


@dataclass(frozen=True)
class Definition:
    """A statement at the top of a file."""

    module: str
    name: str
    node: ast.stmt


class File:
    """One specialised file: what it defines at its top, and what it imports."""

    def __init__(self, module: str, dims: int | None) -> None:
        self.module = module
        self.source = Source(specialised(_text_of(module), dims))
        self.defined: dict[str, ast.stmt] = {}
        self.imported: dict[str, Reference] = {}
        for node in self.source.tree.body:
            for name in _defined_names(node):
                self.defined[name] = node
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imported[alias.asname or alias.name.split(".")[0]] = Reference(alias.name, "")
            elif isinstance(node, ast.ImportFrom) and node.module and node.module != ERRORS:
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = Reference(node.module, alias.name)

    def origin(self, name: str) -> str:
        """The module in which a name of this file is defined."""
        return self.imported[name].module if name in self.imported and name not in self.defined else self.module


def _text_of(module: str) -> str:
    """The source of a module.

    Raises:
        UnwritableError: there is none.
    """
    path = _file_of(module)
    if not path.endswith(".py"):
        raise UnwritableError(f"the source of {module} is not at hand")
    return Path(path).read_text(encoding="utf-8")


def _file_of(module: str) -> str:
    """The file of a module, imported or not; empty if it has none."""
    loaded = sys.modules.get(module)
    if loaded is None and (found := find_spec(module)) is not None:
        return found.origin or ""
    return getattr(loaded, "__file__", None) or ""


def is_own(module: str) -> bool:
    """Whether a module's definitions are written out: archimed's, and those of a user's own file."""
    root = module.split(".", maxsplit=1)[0]
    if root == OWN or root in sys.stdlib_module_names:
        return root == OWN
    return "site-packages" not in (path := _file_of(module)) and bool(path)


def _defined_names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            yield from (part.id for part in parts if isinstance(part, ast.Name))


class Closure:
    """All definitions that some names need.

    Attributes:
        definitions: in an order in which they can stand in one file.
        imports: what is taken from other libraries, by the name it has in the file.
    """

    def __init__(self, roots: Iterable[Reference], dims: int | None, attributes: Iterable[str] = ()) -> None:
        """`attributes`: names of methods that are called from outside."""
        self._dims = dims
        self._files: dict[str, File] = {}
        self._needed: dict[tuple[str, int], Definition] = {}
        self._attributes = set(attributes)
        self.imports: dict[str, Reference] = {}
        known = -1
        while known != (known := len(self._needed) + len(self._attributes)):
            for root in roots:
                self._need(root)
            for definition in list(self._needed.values()):
                self._need_parts(definition)
        order = list(self._in_order())
        self.definitions = sorted(self._needed.values(), key=lambda one: (order.index(one.module), one.node.lineno))

    def file(self, module: str) -> File:
        """A file, read once."""
        if module not in self._files:
            self._files[module] = File(module, self._dims)
        return self._files[module]

    def _need(self, reference: Reference, alias: str | None = None) -> None:
        """Take in what a name refers to."""
        if not is_own(reference.module):
            self.imports[alias or reference.name or reference.module] = reference
            return
        file = self.file(reference.module)
        if reference.name in file.defined:
            node = file.defined[reference.name]
            self._needed.setdefault((file.module, node.lineno), Definition(file.module, reference.name, node))
        elif reference.name in file.imported:
            self._need(file.imported[reference.name], reference.name)
        else:
            raise UnwritableError(f"{reference.module} does not define {reference.name}")

    def _need_parts(self, definition: Definition) -> None:
        """Take in what a definition names, without the methods that nobody calls."""
        file = self.file(definition.module)
        for node in self.kept_nodes(definition.node):
            if isinstance(node, ast.Name):
                self._need_name(file, node.id)
            elif isinstance(node, ast.Attribute):
                self._attributes.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(file.defined.get(str(node.value)), ast.ClassDef):
                self._need_name(file, str(node.value))  # an annotation in quotes

    def _need_name(self, file: File, name: str) -> None:
        if name in file.defined:
            self._need(Reference(file.module, name))
        elif name in file.imported:
            self._need(file.imported[name], name)

    def kept_nodes(self, node: ast.stmt) -> Iterator[ast.AST]:
        """All nodes of a definition but those of methods that are left out."""
        left_out = {id(part) for part in self.left_out(node)}
        waiting: list[ast.AST] = [node]
        while waiting:
            one = waiting.pop()
            if id(one) not in left_out:
                yield one
                waiting += ast.iter_child_nodes(one)

    def left_out(self, node: ast.stmt) -> list[ast.stmt]:
        """The methods of a class that nobody calls."""
        if not isinstance(node, ast.ClassDef):
            return []
        return [
            part
            for part in node.body
            if isinstance(part, ast.FunctionDef)
            and not (part.name.startswith("__") or part.name in ALWAYS or part.name in self._attributes)
        ]

    def text(self, definition: Definition, others: Mapping[tuple[str, str], str]) -> str:
        """The text of a definition without the methods that nobody calls, some names replaced by others."""
        file = self.file(definition.module)
        source, left_out = file.source, self.left_out(definition.node)
        edits = [source.without_lines(part) for part in left_out]
        edits += [
            Edit(source.start(node), source.end(node), other)
            for node in self.kept_nodes(definition.node)
            if isinstance(node, ast.Name) and (other := others.get((file.origin(node.id), node.id)))
        ]
        text = source.edited(edits)
        start, end = source.lines_of(definition.node)
        grown = len(text.encode()) - len(source.text.encode())
        text = text.encode()[start : end + grown].decode()
        own = others.get((file.module, definition.name))
        if own and isinstance(definition.node, ast.FunctionDef | ast.ClassDef):
            text = re.sub(rf"^(def|class) {definition.name}\b", rf"\1 {own}", text, count=1, flags=re.MULTILINE)
        return text

    def _in_order(self) -> Iterator[str]:
        """The files, each after those it imports from."""
        seen: set[str] = set()

        def visit(module: str) -> Iterator[str]:
            if module in seen or module not in self._files:
                return
            seen.add(module)
            for reference in self._files[module].imported.values():
                yield from visit(reference.module)
            yield module

        for module in list(self._files):
            yield from visit(module)
