"""Run a tool of this package: python -m etram_mmdet TOOL [options of the tool].

Without TOOL, list the tools and the folder of the configs.
"""

from __future__ import annotations

import runpy
import sys

from etram_mmdet.utils.environment import ROOT
from etram_mmdet.utils.text import did_you_mean


def main() -> None:
    tools = {path.stem: path for path in sorted((ROOT / "tools").glob("*.py"))}
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(f"{__doc__}\n\ntools    {', '.join(tools)}\nconfigs  {ROOT / 'configs'}")
        return
    name = sys.argv[1].removesuffix(".py")
    if name not in tools:
        sys.exit(f"error: no tool {name!r}; {did_you_mean(name, tools)}")
    sys.argv = [str(tools[name]), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
