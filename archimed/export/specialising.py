"""The source of a file of modules, specialised: for images of two axes or of three, shapes told in comments."""

import ast
import re
from collections.abc import Iterator
from functools import cache

from archimed.export.edits import Edit, Source, until_settled

NEVER = ("quick", "lays_out")  # attributes of a module that are False in an exported network
DIMS = ("spatial_dims", "dims")  # names that stand for the number of axes of space
LINE = 120  # characters
MANY = re.compile(r",\n\s*[)\]}]")  # a comma after the last of several lines: they stay apart
REDRAWING = "reset_parameters"  # weights are loaded
MARKS = re.compile(r"  # (type: ignore|noqa).*$", re.MULTILINE)
RAISES = re.compile(r"\n\n +Raises:\n +SettingsError: .*(?=\n +\"\"\")")  # by checks that are left out
ABOUT_DIMS = re.compile(r"^ +spatial_dims: .*\n", re.MULTILINE)


@cache
def specialised(text: str, dims: int | None) -> str:
    """The text of a file, with what an exported network never does cut out.

    Args:
        text: Python source.
        dims: axes of space, which then are no parameter any more; None leaves them one.
    """
    shapes = _imported_from(text, "jaxtyping")
    errors = _imported_from(text, "archimed.errors")
    comments = _shape_comments(text, shapes)
    text = RAISES.sub("", MARKS.sub("", text))
    text = until_settled(text, lambda source: _without_shapes(source, shapes))
    text = until_settled(text, lambda source: _folded(source, dims))
    text = until_settled(text, _without_redrawing)
    text = until_settled(text, _without_empty_checks)
    if dims is not None:
        text = until_settled(text, lambda source: _without_dims(source, dims))
        text = ABOUT_DIMS.sub("", text).replace("(channels, spatial_dims)", "(channels)")
        text = text.replace("Callable[[int, int], nn.Module]  # (channels)", "Callable[[int], nn.Module]  # channels")
    text = _without_plain_classes(text)
    for error in errors:
        text = re.sub(rf"\b{error}\b", "ValueError", text)
    return _commented(until_settled(text, _joined), comments)


def _imported_from(text: str, module: str) -> set[str]:
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module == module)
    return {alias.name for node in nodes for alias in node.names}


def _without_shapes(source: Source, shapes: set[str]) -> Iterator[Edit]:
    """`Float[Tensor, "batch channel"]` as `Tensor`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in shapes:
            kept = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
            yield Edit(source.start(node), source.end(node), source.of(kept))


def _shape_comments(text: str, shapes: set[str]) -> dict[tuple[str, str], str]:
    """What `forward` of each class takes and gives, from the annotations: [batch, channel] -> [batch, output]."""
    found = {}
    for owner in [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]:
        for node in owner.body:
            if isinstance(node, ast.FunctionDef) and node.name == "forward" and node.returns is not None:
                given = [_shape(argument.annotation, shapes) for argument in node.args.args[1:]]
                taken, gives = ", ".join(filter(None, given)), _shape(node.returns, shapes)
                if taken and gives and all(given):
                    found[owner.name, node.name] = f"  # {taken} -> {gives}"
    return found


def _shape(annotation: ast.expr | None, shapes: set[str]) -> str:
    """`Float[Tensor, "batch channel *space"]` as [batch, channel, *space]; empty for other annotations."""
    if not isinstance(annotation, ast.Subscript) or not isinstance(annotation.slice, ast.Tuple):
        return ""
    words = annotation.slice.elts[-1]
    known = isinstance(annotation.value, ast.Name) and annotation.value.id in shapes
    return f"[{', '.join(str(words.value).split())}]" if known and isinstance(words, ast.Constant) else ""


def _commented(text: str, comments: dict[tuple[str, str], str]) -> str:
    """The text with comments after the first lines of methods, where they fit."""
    source, edits = Source(text), []
    for owner in source.tree.body:
        for node in owner.body if isinstance(owner, ast.ClassDef) else ():
            comment = comments.get((getattr(owner, "name", ""), getattr(node, "name", "")))
            if comment and isinstance(node, ast.FunctionDef):
                end = source.text_end(node.lineno)
                line = source.between(source.lines_of(node)[0], end)
                if line.endswith(":") and len(line) + len(comment) <= LINE:
                    edits.append(Edit(end, end, comment))
    return source.edited(edits)


def _joined(source: Source) -> Iterator[Edit]:
    """Statements and first lines of functions that need no longer stand on several lines."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef):
            start, end = source.start(node), source.header_end(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Return):
            start, end = source.start(node), source.end(node)
        else:
            continue
        text = source.between(start, end)
        if "\n" in text and not any(mark in text for mark in ("#", '"""')):
            line = re.sub(r"\s*\n\s*", " ", text).replace("( ", "(").replace(" )", ")")
            line = line.replace("[ ", "[").replace(" ]", "]").replace("{ ", "{").replace(" }", "}").replace(",)", ")")
            if node.col_offset + len(line) + 1 <= LINE and not MANY.search(text):
                yield Edit(start, end, line)


def _folded(source: Source, dims: int | None) -> Iterator[Edit]:
    """Conditions whose answer is known, with the branch that is never taken."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.IfExp) and (answer := _known(node.test, dims)) is not None:
            kept = node.body if answer else node.orelse
            start, end, text = source.start(node), source.end(node), source.of(kept)
            if source.between(start - 1, start) == "(" and source.between(end, end + 2) == ")(":
                start, end = start - 1, end + 1  # a choice of what is called stands in brackets
            yield Edit(start, end, text)
        elif isinstance(node, ast.If) and _known(node.test, dims) is False and not node.orelse:
            yield source.without_lines(node)


def _known(test: ast.expr, dims: int | None) -> bool | None:
    """The answer to a condition, if it is known."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        answer = _known(test.operand, dims)
        return None if answer is None else not answer
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return False if any(_known(value, dims) is False for value in test.values) else None
    if isinstance(test, ast.Compare):
        return None if dims is None else _known_of_axes(test, dims)
    never = isinstance(test, ast.Attribute) and test.attr in NEVER and ast.unparse(test.value) == "self"
    return False if never else None


def _known_of_axes(test: ast.Compare, dims: int) -> bool | None:
    """The answer to a comparison of the number of axes."""
    axes = dims if _is_dims(test.left) else dims + 2 if _is_ndim(test.left) else None
    other = test.comparators[0]
    if axes is None or len(test.ops) != 1:
        return None
    if isinstance(other, ast.Constant) and isinstance(test.ops[0], ast.Eq):
        return bool(axes == other.value)
    if isinstance(other, ast.Tuple) and isinstance(test.ops[0], ast.NotIn):
        return axes not in ast.literal_eval(other)
    return None


def _is_dims(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id in DIMS) or (
        isinstance(node, ast.Attribute) and node.attr == "spatial_dims"
    )


def _is_ndim(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "ndim"
        and isinstance(node.value, ast.Name)
        and node.value.id in ("images", "features")
    )


def _without_redrawing(source: Source) -> Iterator[Edit]:
    """What draws first weights, and flags that are never set."""
    for node in ast.walk(source.tree):
        flag = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in NEVER
        if flag or (isinstance(node, ast.FunctionDef) and node.name == REDRAWING):
            yield source.without_lines(node)


def _without_empty_checks(source: Source) -> Iterator[Edit]:
    """Functions with nothing left but a docstring, and the calls of them."""
    empty = {
        node.name
        for node in source.tree.body
        if isinstance(node, ast.FunctionDef) and all(_is_text(part) for part in node.body)
    } | {"check_spatial_dims"}
    for node in ast.walk(source.tree):
        if (isinstance(node, ast.FunctionDef) and node.name in empty) or (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id in empty
        ):
            yield source.without_lines(node)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _without_dims(source: Source, dims: int) -> Iterator[Edit]:
    """The number of axes as a number: no parameter, argument, field or variable stands for it."""
    outside = _outside_names(source.tree)
    found = False
    for node in ast.walk(source.tree):
        for edit in _without_dims_in(source, node, outside, dims):
            found = True
            yield edit
    if not found:
        for node in ast.walk(source.tree):
            if _is_dims(node) and isinstance(getattr(node, "ctx", None), ast.Load):
                yield Edit(source.start(node), source.end(node), str(dims))


def _without_dims_in(source: Source, node: ast.AST, outside: set[str], dims: int) -> Iterator[Edit]:
    """The edits that one node asks for; of a list of items one at a time."""
    if isinstance(node, ast.FunctionDef):
        if node.name in DIMS:
            yield source.without_lines(node)
            return
        for argument in (*node.args.args, *node.args.kwonlyargs):
            if argument.arg in DIMS:
                yield _parameter(source, node, argument)
                return
    elif isinstance(node, ast.AnnAssign) and _is_dims(node.target) and node.value is None:
        yield source.without_lines(node)
    elif isinstance(node, ast.Assign):
        yield from _assignment(source, node)
    elif isinstance(node, ast.Call):
        yield from _arguments(source, node, outside, dims)


def _parameter(source: Source, function: ast.FunctionDef, argument: ast.arg) -> Edit:
    """A parameter, and the star before it if it is the only one that the star is for."""
    only = function.args.kwonlyargs == [argument]
    if only:
        start = source.between(0, source.start(argument)).rfind("*")
        start = len(source.between(0, source.start(argument))[:start].encode())
        return source.without_item(argument, start)
    return source.without_item(argument)


def _assignment(source: Source, node: ast.Assign) -> Iterator[Edit]:
    """`dims = layout.spatial_dims`, alone or in a row with others."""
    (target,) = node.targets if len(node.targets) == 1 else (None,)
    if isinstance(target, ast.Name) and target.id in DIMS and _is_dims(node.value):
        yield source.without_lines(node)
    elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        for name, value in zip(target.elts, node.value.elts, strict=False):
            if isinstance(name, ast.Name) and name.id in DIMS and _is_dims(value):
                yield source.without_item(name)
                yield source.without_item(value)


def _arguments(source: Source, node: ast.Call, outside: set[str], dims: int) -> Iterator[Edit]:
    """Arguments that tell the number of axes: left out, or, of what another library defines, the number."""
    root = node.func
    while isinstance(root, ast.Attribute):
        root = root.value
    elsewhere = isinstance(root, ast.Name) and root.id in outside
    for argument in node.args:
        if _is_dims(argument):
            yield (
                Edit(source.start(argument), source.end(argument), str(dims))
                if elsewhere
                else source.without_item(argument)
            )
            return
    for keyword in node.keywords:
        if keyword.arg in DIMS and not elsewhere:
            yield source.without_item(keyword)
            return


def _outside_names(tree: ast.Module) -> set[str]:
    """What a file takes from other libraries than archimed, and what calls of it are bound to."""
    found = set(dir(__builtins__)) if not isinstance(__builtins__, dict) else set(__builtins__)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("archimed"):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def _without_plain_classes(text: str) -> str:
    """Classes that only pass on to their base, replaced by it."""
    source = Source(text)
    plain = {node.name: source.of(node.bases[0]) for node in source.tree.body if _passes_on(node)}  # type: ignore[attr-defined]
    edits = [source.without_lines(node) for node in source.tree.body if getattr(node, "name", None) in plain]
    edits += [
        Edit(source.start(node), source.end(node), plain[node.id])
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Name) and node.id in plain
    ]
    return source.edited(edits)


def _passes_on(node: ast.stmt) -> bool:
    if not isinstance(node, ast.ClassDef) or len(node.bases) != 1:
        return False
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    if [method.name for method in methods] != ["forward"]:
        return False
    rest = [part for part in methods[0].body if not _is_text(part)]
    return len(rest) == 1 and ast.unparse(rest[0]).startswith("return super().forward(")
