"""Read values of a config, literals and ``dict(...)``, as data: nothing is executed."""

from __future__ import annotations

import ast


def literal(node: ast.expr, names_are_text: bool = False) -> object:
    """The value of a literal, or of ``dict(...)`` of literals; tuples become lists.

    Args:
        node: parsed expression.
        names_are_text: whether a word without quotes counts as text, since a shell removes
            quotes. Default: no.

    Raises:
        ValueError, TypeError, AttributeError: when it is anything else.
    """
    if names_are_text and isinstance(node, ast.Name):
        return {"true": True, "false": False}.get(node.id, node.id)
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "dict":
        given = {
            key: value
            for argument in node.args
            for key, value in literal(argument, names_are_text).items()
        }
        return given | {
            keyword.arg: literal(keyword.value, names_are_text) for keyword in node.keywords
        }
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {ast.literal_eval(key): literal(value, names_are_text) for key, value in pairs}
    if isinstance(node, ast.List | ast.Tuple):
        return [literal(item, names_are_text) for item in node.elts]
    return ast.literal_eval(node)
