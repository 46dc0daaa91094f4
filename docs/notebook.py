"""The tutorial page: the build of the site runs docs/tutorial.ipynb and shows what its cells print.

The repository holds the notebook without outputs. A cell that fails ends the build.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from functools import lru_cache
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOK = Path(__file__).with_name("tutorial.ipynb")
PAGE = "tutorial.md"
LIMIT_S = 300  # for one cell
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page and its pictures."""
    text, pictures = page_of(NOTEBOOK.read_text())
    files.append(File.generated(config, PAGE, content=text))
    for name, content in pictures.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links to the notebook lead to its page. Only the page itself links to the notebook."""
    if page.file.src_uri == PAGE:
        return markdown
    return markdown.replace("](tutorial.ipynb", f"]({PAGE}")


@lru_cache(maxsize=1)
def page_of(source: str) -> tuple[str, dict[str, bytes]]:
    """Run a notebook.

    Args:
        source: text of the notebook file.

    Returns:
        The page as Markdown, and the PNG files that it shows by name.

    Raises:
        PluginError: a cell fails.
    """
    notebook = nbformat.reads(source, as_version=4)
    # An empty folder, so that cells can neither rely on files nearby nor leave any.
    with tempfile.TemporaryDirectory() as folder:
        # Sockets are files in the same folder, not ports that other users could listen to.
        kernel = KernelManager(transport="ipc", connection_file=f"{folder}/kernel.json")
        where = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook, km=kernel, timeout=LIMIT_S, resources=where, coalesce_streams=True
        )
        try:
            client.execute(env={**os.environ, "IPYTHONDIR": folder})
        except CellExecutionError as error:
            message = _COLOURS.sub("", str(error))
            raise PluginError(f"{NOTEBOOK.name}: a cell fails\n{message}") from None
        finally:
            if kernel.has_kernel:
                kernel.shutdown_kernel(now=True)
    parts = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            parts += _shown(output, cell.metadata.get("alt", ""), pictures)
    return "\n\n".join(parts) + "\n", pictures


def _shown(output: dict, alt: str, pictures: dict[str, bytes]) -> list[str]:
    """One output as Markdown; a picture is added to ``pictures``. Progress bars are left out."""
    if output["output_type"] == "stream":
        return [f"```text\n{output['text'].rstrip()}\n```"] if output["name"] == "stdout" else []
    data = output["data"]
    if "image/png" not in data:
        return [f"```text\n{data['text/plain']}\n```"]
    name = f"tutorial_{len(pictures) + 1}.png"
    pictures[name] = base64.b64decode(data["image/png"])
    return [f"![{alt}]({name})"]
