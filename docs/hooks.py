"""Generated pages of the site: the arguments of every registered class, and the changelog."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_KINDS = {
    "DATASETS": "Data sets",
    "DATA_SAMPLERS": "Samplers",
    "TRANSFORMS": "Transforms",
    "MODELS": "Models: detectors, backbones, necks, heads, losses",
    "TASK_UTILS": "Assigners and other parts of a head",
    "METRICS": "Metrics",
    "EVALUATOR": "Evaluators",
    "HOOKS": "Hooks",
    "LOOPS": "Loops",
    "PARAM_SCHEDULERS": "Schedules",
    "VISUALIZERS": "Visualizers",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "reference/settings.md", content=settings_page()))
    changelog = (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "](../")
    files.append(File.generated(config, "reference/changelog.md", content=changelog))
    return files


def on_page_content(html: str, **_: object) -> str:
    """Correct the HTML of a page.

    Names in docstrings lose the role that Sphinx wants before them. A picture becomes a link to
    itself, so that a phone can show it enlarged. Short code and options such as ``--out`` are not
    broken at the end of a line.
    """
    html = re.sub(r":(?:attr|class|func|meth|mod):\s*(<code>)~?", r"\1", html)
    html = re.sub(r'(<img [^>]*src="([^"]+)"[^>]*>)', r'<a href="\2">\1</a>', html)
    html = re.sub(r"<code>([^<]{1,28}</code>)", r'<code class="short">\1', html)
    return re.sub(r"(?<=[ >])(--[a-z][\w-]*)", r'<span class="short">\1</span>', html)


def settings_page() -> str:
    """One section per registry, with one table per class of this package in it."""
    from mmdet import registry

    import etram_mmdet.plugins  # noqa: F401
    from etram_mmdet.events.representations import REPRESENTATIONS

    parts = [
        "# Every setting",
        "Each table lists the arguments of a class that a config names by `type`. "
        "**required** means that the config has to state the argument, "
        "unless the framework fills it in ([Configs](../config.md)).",
    ]
    for name, title in {**_KINDS, "REPRESENTATIONS": "Representations"}.items():
        members = REPRESENTATIONS if name == "REPRESENTATIONS" else getattr(registry, name)
        own = {
            n: c
            for n, c in dict(_modules(members)).items()
            if c.__module__.startswith("etram_mmdet.")
        }
        if own:
            parts += [f"## {title}", *(_class(n, own[n]) for n in sorted(own))]
    return "\n\n".join(parts) + "\n"


def _modules(members: object) -> Iterator[tuple[str, type]]:
    yield from getattr(members, "module_dict", members).items()


def _class(name: str, cls: type) -> str:
    doc = inspect.getdoc(cls) or ""
    rows = [_row(p, _described(doc, p.name)) for p in _parameters(cls)]
    purpose = " ".join(doc.split("\n\n")[0].split())
    table = (
        ["| argument | default | what it is |", "| --- | --- | --- |", *rows]
        if rows
        else ["It takes no arguments."]
    )
    return "\n".join([f"### {name}", "", _plain(purpose), "", *table])


def _parameters(cls: type) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(cls.__init__).parameters.values()
    return [p for p in found if p.name != "self" and p.kind not in kinds]


def _row(parameter: inspect.Parameter, text: str) -> str:
    is_open = parameter.default is inspect.Parameter.empty
    default = "**required**" if is_open else f"`{parameter.default!r}`".replace("|", "\\|")
    return f"| `{parameter.name}` | {default} | {_plain(text)} |"


def _described(doc: str, name: str) -> str:
    """The lines of an argument in a docstring's ``Args``."""
    found = re.search(
        rf"^    {re.escape(name)}(?: \([^)]*\))?: (.+(?:\n        .+)*)", doc, re.MULTILINE
    )
    return " ".join(found[1].split()) if found else ""


def _plain(text: str) -> str:
    """Roles of Sphinx as code; a bar would end the cell."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`").replace("|", "\\|")
