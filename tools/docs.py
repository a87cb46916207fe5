"""dbt's docs of all models in one file that asks for nothing: `python -m tools.docs`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "target" / "static_index.html"
# dbt's page asks for files by the text of a template: its icon's, and those of the menu, which it
# fills in later; the browser logs an error for each
MENDED = {
    """href="${require('./assets/favicons/favicon.ico')}\"""": 'href="data:,"',
    '<use xlink:href="{{': '<use ng-attr-xlink:href="{{',
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; `arguments` go to `dbt docs generate`."""
    options = sys.argv[1:] if arguments is None else arguments
    dbt = Path(sys.executable).parent / "dbt"
    command = [str(dbt), "--quiet", "docs", "generate", "--static", *options]
    if status := subprocess.run(command, cwd=ROOT).returncode:
        return status
    mend(PAGE)
    print(f"Open in a browser: {PAGE.relative_to(ROOT)}")
    return 0


def mend(page: Path) -> None:
    """Take out what the page would ask for in vain, and let no text in it be markup."""
    text = page.read_text(encoding="utf-8")
    for name in ("manifest.json", "catalog.json"):
        # dbt puts both into a script as they are: `</script>` in one would end it
        data = page.with_name(name).read_text(encoding="utf-8")
        text = text.replace(data, data.replace("<", r"\u003c"))
    for wrong, right in MENDED.items():
        text = text.replace(wrong, right)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
