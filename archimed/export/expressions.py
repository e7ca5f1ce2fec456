"""Values as Python expressions: numbers, tuples, dataclasses, functions, and networks by the calls that gave them."""

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from archimed.export.calls import Call, Calls

WIDTH = 100  # characters of a line


class UnwritableError(Exception):
    """A network holds something that cannot be written down as code."""


@dataclass(frozen=True)
class Reference:
    """A name that an expression uses, and the module that defines it."""

    module: str
    name: str


@dataclass(frozen=True)
class Expression:
    """Code as a tree: a head, and parts between brackets; without brackets the head is all."""

    head: str
    brackets: str = ""
    parts: tuple[tuple[str, "Expression"], ...] = ()
    references: frozenset[Reference] = field(default_factory=frozenset)

    @property
    def used(self) -> frozenset[Reference]:
        """All names that are used in it."""
        return self.references.union(*(part.used for _, part in self.parts))

    def line(self) -> str:
        """The code on one line."""
        if not self.brackets:
            return self.head
        inner = ", ".join(f"{label}{part.line()}" for label, part in self.parts)
        alone = "," if self.brackets == "()" and not self.head and len(self.parts) == 1 else ""
        return f"{self.head}{self.brackets[0]}{inner}{alone}{self.brackets[1]}"

    def text(self, indent: int = 0, taken: int = 0) -> str:
        """The code on as few lines as fit.

        Args:
            indent: spaces before its last line.
            taken: characters that stand before it on its first line.
        """
        line = self.line()
        if not self.parts or taken + len(line) + 1 <= WIDTH:
            return line
        space = " " * (indent + 4)
        inner = (f"{space}{label}{part.text(indent + 4, indent + 4 + len(label))},\n" for label, part in self.parts)
        return f"{self.head}{self.brackets[0]}\n{''.join(inner)}{' ' * indent}{self.brackets[1]}"


class Writer:
    """Writes values as expressions; what is written more than once and has a name of its own becomes a variable.

    Attributes:
        variables: name -> expression, in the order in which they are needed.
    """

    def __init__(self, calls: Calls, left_out: Callable[[Callable[..., Any], str], bool]) -> None:
        """`left_out(function, name)` tells of an argument that it is not written."""
        self._calls = calls
        self._left_out = left_out
        self.variables: dict[str, Expression] = {}
        self._kept: list[Any] = []  # what has an entry below stays, so that no other value gets its identity
        self._named: dict[int, Expression] = {}

    def write(self, value: Any) -> Expression:
        """A value as code.

        Raises:
            UnwritableError: it is of a kind that has no code.
        """
        if isinstance(value, nn.Module):
            found = self._module(value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            found = self._dataclass(value)
        elif isinstance(value, partial):
            parts = [("", self.write(one)) for one in (value.func, *value.args)]
            found = _called(partial, [*parts, *((f"{name}=", self.write(one)) for name, one in value.keywords.items())])
        elif isinstance(value, Mapping):
            keys = [self.write(key) for key in value]
            parts = [(f"{key.line()}: ", self.write(one)) for key, one in zip(keys, value.values(), strict=True)]
            found = Expression("", "{}", tuple(parts), frozenset[Reference]().union(*(key.used for key in keys)))
        elif isinstance(value, tuple | list):
            parts = [("", self.write(one)) for one in value]
            brackets = "()" if isinstance(value, tuple) else "[]"
            is_named = hasattr(value, "_fields")
            found = _called(type(value), parts) if is_named else Expression("", brackets, tuple(parts))
        elif callable(value):
            found = named(value)
        elif value is None or isinstance(value, bool | int | float | str):
            found = Expression(_literal(value))
        else:
            raise UnwritableError(f"a value of type {type(value).__name__} has no code")
        return found

    def _module(self, module: nn.Module) -> Expression:
        calls = self._calls.of(module)
        if not calls:
            raise UnwritableError(f"nothing tells how its {type(module).__name__} was made")
        last = calls[-1]
        own = any(value is module for value in (*last.positional, *last.named.values()))
        if own:
            return self._call(last, {id(module): self._call(calls[-2], {})})
        return self._call(last, {})

    def _call(self, call: Call, known: Mapping[int, Expression]) -> Expression:
        def written(value: Any) -> Expression:
            return known[id(value)] if id(value) in known else self.write(value)

        parts = [("", written(value)) for value in call.positional]
        named_parts = {name: value for name, value in call.named.items() if not self._left_out(call.function, name)}
        parts += [(f"{name}=", written(value)) for name, value in named_parts.items()]
        if len(parts) == 1:
            parts = [("", parts[0][1])] if _takes_position(call.function, parts[0][0]) else parts
        return _called(call.function, parts)

    def _dataclass(self, value: Any) -> Expression:
        if id(value) in self._named:
            return self._named[id(value)]
        constant = constant_of(value)
        if constant is not None:
            return Expression(constant.name, references=frozenset({constant}))
        fields = [
            one
            for one in dataclasses.fields(value)
            if one.init and getattr(value, one.name) != one.default and not self._left_out(type(value), one.name)
        ]
        parts = [(f"{one.name}=", self.write(getattr(value, one.name))) for one in fields]
        made = _called(type(value), parts)
        name = getattr(value, "name", None)
        if not isinstance(name, str) or not name.isidentifier():
            return made
        number = 1
        while self.variables.setdefault(variable := name if number == 1 else f"{name}_{number}", made) != made:
            number += 1
        self._kept.append(value)
        self._named[id(value)] = Expression(variable)
        return self._named[id(value)]


def constant_of(value: Any) -> Reference | None:
    """The constant at the top of a file that this value is; None if it is none."""
    family = type(value).__module__.rpartition(".")[0]
    for module in [found for name, found in sorted(sys.modules.items()) if name.startswith(f"{family}.")]:
        for name, known in vars(module).items():
            if known is value and name.isupper():
                return Reference(module.__name__, name)
    return None


def named(function: Callable[..., Any]) -> Expression:
    """A function or class by its name.

    Raises:
        UnwritableError: it stands inside another one.
    """
    module, name = function.__module__, getattr(function, "__qualname__", "")
    if "." in name or "<" in name or not name:
        raise UnwritableError(f"{name or function!r} stands inside another function")
    if module.startswith("torch.nn.modules."):
        return Expression(f"nn.{name}", references=frozenset({Reference("torch", "nn")}))
    return Expression(name, references=frozenset({Reference(module, name)}))


def _called(function: Callable[..., Any], parts: list[tuple[str, Expression]]) -> Expression:
    head = named(function)
    return Expression(head.head, "()", tuple(parts), head.references)


def _takes_position(function: Callable[..., Any], label: str) -> bool:
    parameter = inspect.signature(function).parameters.get(label.rstrip("="))
    return parameter is None or parameter.kind is parameter.POSITIONAL_OR_KEYWORD


def _literal(value: Any) -> str:
    text = repr(value)
    return f'"{text[1:-1]}"' if isinstance(value, str) and '"' not in text else text
