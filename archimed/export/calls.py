"""By which calls a network was built: what is recorded while a space builds it, and written down as code again."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch import nn

LEFT_OUT = ("archimed.spaces.", "archimed.experiment.")  # they call for networks; code that only builds stands below


@dataclass(frozen=True)
class Call:
    """A call that gave a module.

    Attributes:
        function: a class, or a function at the top of its file.
        positional: arguments without a name, in order.
        named: arguments by name; those at their default are left out.
    """

    function: Callable[..., Any]
    positional: tuple[Any, ...]
    named: Mapping[str, Any]


class Calls:
    """The calls that gave each module, the outermost last; modules are kept, so that none takes another's place."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[nn.Module, list[Call]]] = {}

    def add(self, module: nn.Module, call: Call) -> None:
        """Note that a call gave a module."""
        self._found.setdefault(id(module), (module, []))[1].append(call)

    def of(self, module: nn.Module) -> tuple[Call, ...]:
        """The calls that gave a module, in the order they returned; () if it was made elsewhere."""
        return tuple(self._found.get(id(module), (module, []))[1])


@contextmanager
def recorded_calls() -> Iterator[Calls]:
    """Record every call that gives a module: constructors, and functions at the top of a file.

    Python's profiling hook sees them, so networks need nothing for it, a user's own neither.
    """
    calls = Calls()
    begun: dict[FrameType, dict[str, Any]] = {}
    before = sys.getprofile()

    def watch(frame: FrameType, event: str, result: Any) -> None:
        if event == "call" and not str(frame.f_globals.get("__name__")).startswith(LEFT_OUT):
            begun[frame] = dict(frame.f_locals)
        elif event == "return" and (given := begun.pop(frame, None)) is not None:
            if frame.f_code.co_name == "__init__":
                made, function = given.get(frame.f_code.co_varnames[0]), _class_of(frame, given)
            else:
                made, function = result, frame.f_globals.get(frame.f_code.co_name)
            if isinstance(made, nn.Module) and getattr(function, "__code__", None) in (None, frame.f_code) and function:
                calls.add(made, _call(function, given))

    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def _class_of(frame: FrameType, given: Mapping[str, Any]) -> type | None:
    """The class whose constructor this frame is; None in the constructor of a base class."""
    made = type(given.get(frame.f_code.co_varnames[0]))
    constructor: Any = getattr(made, "__init__", None)
    return made if getattr(constructor, "__code__", None) is frame.f_code else None


def _call(function: Callable[..., Any], given: Mapping[str, Any]) -> Call:
    """The call with the arguments that it was begun with."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        value = given[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += [*named.values(), *value]
            named = {}
        elif parameter.kind is parameter.VAR_KEYWORD:
            named |= value
        elif _differs(value, parameter.default):
            named[name] = value
    return Call(function, tuple(positional), named)


def _differs(value: Any, default: Any) -> bool:
    """Whether an argument is told; True too where the two cannot be compared."""
    return type(value) is not type(default) or bool(value != default)
