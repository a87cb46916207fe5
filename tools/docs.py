"""dbt's docs of all models in one file that asks for nothing: `python -m tools.docs`."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from warehouse.commands import program

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "target" / "static_index.html"
# dbt's page asks for files by the text of a template: its icon's, and those of the menu, which it
# fills in later; the browser logs an error for each
MENDED = {
    """href="${require('./assets/favicons/favicon.ico')}\"""": 'href="data:,"',
    '<use xlink:href="{{': '<use ng-attr-xlink:href="{{',
}


@program(
    "python -m tools.docs",
    epilog="Example:\n  python -m tools.docs --select +daily_kpis",
    ignore_unknown_options=True,
)
def main(
    options: Annotated[
        list[str] | None, typer.Argument(metavar="OPTION", help="Of `dbt docs generate`.")
    ] = None,
) -> int:
    """Write dbt's docs of all tables in one file."""
    dbt = Path(sys.executable).parent / "dbt"
    command = [str(dbt), "--quiet", "docs", "generate", "--static", *(options or [])]
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
