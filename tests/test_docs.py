"""dbt's static docs: one file with every model, filled from the catalog, that asks for nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse import Project, answers_of
from tools.docs import mend


@pytest.fixture(scope="module")
def page(sample: Project) -> Path:
    """The docs of data/sample, by the command of `make docs`."""
    sample.dbt("docs", "generate", "--static").ok()
    written = sample.folder / "target" / "static_index.html"
    mend(written)
    return written


@pytest.fixture(scope="module")
def manifest(page: Path) -> dict[str, Any]:
    return json.loads((page.parent / "manifest.json").read_text())


def of_type(manifest: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Nodes of a kind by name."""
    nodes = manifest["nodes"].values()
    return {node["name"]: node for node in nodes if node["resource_type"] == kind}


def test_one_file_has_every_model_exposure_and_the_overview(
    page: Path, manifest: dict[str, Any]
) -> None:
    text = page.read_text()
    models = of_type(manifest, "model")
    assert len(models) > 25
    exposures = {each["name"]: each for each in manifest["exposures"].values()}
    assert exposures.keys() == {"report", "churn_model", "sql_server"}
    for unique_id in [node["unique_id"] for node in (*models.values(), *exposures.values())]:
        assert f'"{unique_id}"' in text
    overview = manifest["docs"]["doc.churn_at_scale.__overview__"]["block_contents"]
    assert json.dumps(overview)[1:60] in text
    for name in models:
        assert name in overview or name in (
            "churn_calendar",
            "stg_line_counts",
            "int_log_anomalies",
            "int_rejection_anomalies",
            "int_share_anomalies",
            "int_volume_anomalies",
        )


def test_the_server_shows_every_mart(manifest: dict[str, Any]) -> None:
    server = manifest["exposures"]["exposure.churn_at_scale.sql_server"]
    marts = [
        node["unique_id"]
        for node in of_type(manifest, "model").values()
        if node["path"].startswith(("churn/", "core/", "engagement/", "marts/"))
    ]
    assert sorted(server["depends_on"]["nodes"]) == sorted(marts)


def test_the_catalog_has_every_table_with_its_columns(
    page: Path, manifest: dict[str, Any], sample: Project
) -> None:
    catalog = json.loads((page.parent / "catalog.json").read_text())
    assert not catalog["errors"]
    for name, node in of_type(manifest, "model").items():
        if node["config"]["materialized"] == "view":  # dbt-spark does not list views of Iceberg
            found = sample.table(name).columns
        else:
            found = [column.lower() for column in catalog["nodes"][node["unique_id"]]["columns"]]
        listed = list(node["columns"])
        if node["access"] == "private":  # lists only columns that need a description
            found = [column for column in found if column in listed]
        assert found == listed, name


def test_example_queries_run_on_what_is_published(
    sample: Project, manifest: dict[str, Any]
) -> None:
    queries = {}
    for name in sample.marts():
        description = of_type(manifest, "model")[name]["description"]
        (query,) = re.findall(r"```sql\n(.*?)```", description, re.S)
        queries[name] = query.replace("churn_published.", f"{sample.schema}_published.")
    for name, rows in answers_of(queries).items():
        # of the sample, nobody has been scored
        of_scores = name == "model_health" or name.startswith(("churn_risk", "churn_score_"))
        assert (len(rows) > 0) != of_scores, name


def test_it_opens_without_an_error_or_a_request(page: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium on this machine")
    errors, requests = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.on("console", lambda each: errors.append(each.text) if each.type == "error" else None)
        tab.on("pageerror", lambda each: errors.append(str(each)))
        tab.on("request", lambda each: requests.append(each.url))
        tab.goto(page.as_uri())
        tab.wait_for_selector("text=How to query")
        tab.goto(f"{page.as_uri()}#!/model/model.churn_at_scale.daily_kpis")
        tab.wait_for_selector("text=One row per UTC date")
        tab.wait_for_selector("text=active_users_last_28_days")
        browser.close()
    assert errors == []
    allowed = (page.as_uri(), "data:", "blob:")
    assert [url for url in requests if not url.startswith(allowed)] == []


def test_no_text_of_it_is_markup(tmp_path: Path) -> None:
    """A landing folder's name is in the manifest, and dbt puts that into a script as it is."""
    manifest = json.dumps({"raw_path": "</script><img src=x onerror=hacked=1>"})
    page = tmp_path / "static_index.html"
    page.write_text(f'<script>var data={{manifest:{manifest},catalog:{{"a":1}}}}</script>')
    page.with_name("manifest.json").write_text(manifest)
    page.with_name("catalog.json").write_text('{"a":1}')
    mend(page)
    inside = page.read_text().removeprefix("<script>").removesuffix("</script>")
    assert "<" not in inside
    found = re.search(r"manifest:(.*),catalog", inside)[1]
    assert json.loads(found) == json.loads(manifest)
