"""network.py: a network as one file of source that needs PyTorch alone, or MONAI where the network is MONAI's."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from archimed.export.calls import Calls
from archimed.export.definitions import Closure, is_own
from archimed.export.expressions import Expression, Reference, Writer
from archimed.export.specialising import DIMS

BUILD = "build_network"
NN = Reference("torch", "nn")


def network_source(network: nn.Module, calls: Calls, dims: int | None, about: str, answers: str) -> str:
    """The source of a network.

    Args:
        network: built while `calls` were recorded.
        calls: by which it was built.
        dims: axes of space, as which all is written; None leaves them a parameter.
        about: the first lines of the file.
        answers: what the network takes and gives, the docstring of `build_network`.

    Raises:
        UnwritableError: the network holds something that has no code.
    """

    def left_out(function: Callable[..., Any], name: str) -> bool:
        return dims is not None and name in DIMS and is_own(function.__module__)

    writer = Writer(calls, left_out)
    built = writer.write(network)
    used = built.used.union(*(one.used for one in writer.variables.values()))
    closure = Closure([*used, NN], dims)
    return file_text(about, closure, _build_function(built, writer.variables, answers))


def file_text(about: str, closure: Closure, last: str) -> str:
    """A file: what it is about, imports, definitions, and what stands last."""
    body = _joined([*_definitions(closure), *([last] if last else [])])
    gap = "\n\n" if _is_constant(body[0]) else "\n\n\n"
    return f'"""{about}"""\n\n{_imports(closure.imports)}{gap}' + "\n\n\n".join(body) + "\n"


def libraries(source: str) -> list[str]:
    """The libraries that a source imports, Python's own left out."""
    import ast

    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return sorted(found - set(sys.stdlib_module_names))


def _build_function(built: Expression, variables: Mapping[str, Expression], answers: str) -> str:
    lines = [f"def {BUILD}() -> nn.Module:", f'    """{answers}"""']
    lines += [f"    {name} = {one.text(4, 7 + len(name))}" for name, one in variables.items()]
    return "\n".join([*lines, f"    return {built.text(4, 11)}"])


def _imports(imports: Mapping[str, Reference]) -> str:
    """Import statements, Python's own first."""
    whole = sorted({one.module for one in imports.values() if not one.name})
    taken: dict[str, list[str]] = {}
    for alias, one in imports.items():
        if one.name:
            taken.setdefault(one.module, []).append(one.name if alias == one.name else f"{one.name} as {alias}")
    groups: list[list[str]] = [[], []]
    for name in whole:
        alias = next(alias for alias, one in imports.items() if one.module == name and not one.name)
        groups[_is_outside(name)].append(f"import {name}" + (f" as {alias}" if alias != name.split(".")[0] else ""))
    for name, names in sorted(taken.items()):
        groups[_is_outside(name)].append(f"from {name} import {', '.join(sorted(names, key=_import_order))}")
    return "\n\n".join("\n".join(group) for group in groups if group)


def _is_outside(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] not in sys.stdlib_module_names


def _import_order(name: str) -> tuple[int, str]:
    """Constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _definitions(closure: Closure) -> Iterator[str]:
    """The text of all definitions; where two have one name, the later one gets another."""
    places: dict[str, list[str]] = {}
    for one in closure.definitions:
        if one.module not in places.setdefault(one.name, []):
            places[one.name].append(one.module)
    others = {
        (module, name): f"{name}_{number}"
        for name, modules in places.items()
        for number, module in enumerate(modules[1:], start=2)
    }
    for one in closure.definitions:
        yield closure.text(one, others).strip("\n")


def _joined(parts: list[str]) -> list[str]:
    """Constants that follow each other stand on neighbouring lines."""
    joined: list[str] = []
    for part in parts:
        if joined and _is_constant(part) and _is_constant(joined[-1].splitlines()[-1]):
            joined[-1] += f"\n{part}"
        else:
            joined.append(part)
    return joined


def _is_constant(text: str) -> bool:
    return not text.startswith(("def ", "class ", "@", " ", ")"))
