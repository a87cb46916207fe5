"""The page: its parts in their order, and how they become one HTML file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ml.models import model_name
from ml.reasons import told
from report import svg
from report.curves import of_chosen
from report.data import NO_MODEL, Data
from report.figure import Shown
from report.figures import FIGURES
from report.profit import Assumptions
from report.words import NOTHING, day, hours, number, percent

FOLDER = Path(__file__).resolve().parent
# in their order on the page; the list of users, with figures of the section `risk`, is above them
SECTIONS = {
    "churn": "Who cancels",
    "behaviour": "What they do",
    "time": "Over time",
    "model": "The model",
    "data": "Is the data complete?",
}
IN_SHORT = ("weekly-churn", "groups", "pages")  # figures whose findings stand at the top
IN_SHORT_OF_MODEL = ("lift", "deciles")  # and these, of a model that is better than a guess


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    id: str
    title: str
    figures: list[Shown]
    text: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Tile:
    """A number at the top."""

    name: str
    value: str
    detail: str


def render(data: Data, assumed: Assumptions, written_at: datetime) -> str:
    """The HTML of the whole report."""
    data = replace(data, assumed=assumed)
    style = svg.stylesheet() + (FOLDER / "page.css").read_text(encoding="utf-8")
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts, risk = sections(data), risk_list(data)
    return environment.get_template("page.html.j2").render(
        data=data,
        period=data["data_period"].first(),
        period_sql=data["data_period"],
        model={"model_run_id": None, **data["shown_model"].first()},
        model_sql=data["shown_model"],
        tiles=tiles(data),
        in_short=in_short(data, [*risk["figures"], *(f for part in parts for f in part.figures)]),
        sections=parts,
        risk=risk,
        credits=[figure.credit for figure in FIGURES if figure.credit],
        written_at=written_at,
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
        percent=percent,
        number=number,
        date=day,
    )


def policy(style: str, script: str) -> str:
    """A Content-Security-Policy that allows this style and this script, and no network."""

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; style-src {allowed(style)}; script-src {allowed(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def sections(data: Data) -> list[Section]:
    """All parts in their order, but for the list of users, which the template lays out."""
    return [
        model_section(data) if id == "model" else Section(id, title, figures_of(id, data))
        for id, title in SECTIONS.items()
    ]


def figures_of(section: str, data: Data) -> list[Shown]:
    """The figures of a section, in their order."""
    found = (figure.shown(data) for figure in FIGURES if figure.place[0] == section)
    return [shown for shown in found if shown]


def model_section(data: Data) -> Section:
    """How good the model is, or why that cannot be said."""
    title, rows = SECTIONS["model"], data["model_figures"].rows
    if rows.empty:
        return Section("model", title, [], problem=data.model.problem or NO_MODEL)
    first = rows[rows["is_chosen"]].iloc[0]
    text = (
        f"Run {first.model_run_id}, trained {day(first.trained_at)}: "
        f"{model_name(first.model_name)}, fitted on snapshots "
        f"{day(first.train_first_snapshot_date)} to {day(first.train_last_snapshot_date)}. All "
        f"figures here are of a backtest: of snapshots {day(first.test_first_snapshot_date)} to "
        f"{day(first.test_last_snapshot_date)}, each predicted by a model fitted on earlier days, "
        f"and say who cancels within {first.horizon_days} days. A ROC AUC above 0.80 would be a "
        "leak until shown otherwise."
    )
    problem = data.model.problem or distrust(rows)
    return Section("model", title, figures_of("model", data), text, problem)


def in_short(data: Data, figures: Sequence[Shown]) -> list[tuple[str, str]]:
    """The findings that matter most, each with the element that it links to."""
    warning = distrust(data["model_figures"].rows)
    findings = {shown.figure.id: shown.finding for shown in figures}
    wanted = IN_SHORT if warning else IN_SHORT + IN_SHORT_OF_MODEL
    found = [(id, findings[id]) for id in wanted if findings.get(id)]
    return [*found, ("model", warning)] if warning else found


def distrust(rows: pd.DataFrame) -> str:
    """A warning where the chosen model is no better than the base rate, else ''."""
    if rows.empty:
        return ""
    chosen = of_chosen(rows, "log_loss")
    base = of_chosen(rows.assign(is_chosen=rows["model_name"] == "base_rate"), "log_loss")
    if chosen is None or base is None or chosen.value < base.value:
        return ""
    return (
        f"In the backtest the log loss of this model ({chosen.value:.4f}) is not below that of the "
        f"base rate ({base.value:.4f}): do not use its probabilities; more data is needed."
    )


def tiles(data: Data) -> list[Tile]:
    """Six numbers: all users, the last complete week, today's risk."""
    period = data["data_period"].first()
    users, churned = period["users"], period["churned_users"]
    share = f" ({percent(churned / users)})" if users else ""
    found = [Tile("Users in the log", number(users), f"{number(churned)} have churned{share}")]
    weeks = data["weekly_figures"].rows
    if not weeks.empty:
        weeks = weeks.sort_values("week_start_date")
        now = weeks.iloc[-1]
        before = weeks.iloc[-2] if len(weeks) > 1 else {}
        found += [
            Tile(title, words(now[name]), changed(now[name], before.get(name), words is percent))
            for title, name, words in (
                ("Active users, week", "active_users", number),
                ("Churn rate, week", "churned_share", percent),
                ("On the paid plan", "paid_share", percent),
                ("Hours each, week", "listening_hours_per_user", hours),
            )
        ]
    risk = data["risk_by_decile"].rows
    if risk.empty:
        return [*found, Tile("Expected to cancel", NOTHING, "no scores yet")]
    expected = f"{risk['expected_cancellations'].sum():.1f}"
    detail = f"of {number(risk['users'].sum())} users, in ten days"
    return [*found, Tile("Expected to cancel", expected, detail)]


def changed(now: float | None, before: float | None, as_points: bool = False) -> str:
    """'+4.2%' or '-1.3 points' against the week before; '' where one is not known."""
    if now is None or before is None or pd.isna(now) or pd.isna(before):
        return ""
    if as_points:
        return f"{(now - before) * 100:+.1f} points on the week before"
    return f"{(now / before - 1) * 100:+.1f}% on the week before" if before else ""


def risk_list(data: Data) -> Mapping[str, Any]:
    """What the template needs for the list of users: its rows, the choices of the filters and the
    figures of its section, or the problem."""
    answer, model = data["users_at_risk"], data["shown_model"].first()
    listed = answer.rows
    if listed.empty:
        trained = isinstance(model.get("model_run_id"), str)
        problem = "No user has been scored yet: run make score." if trained else NO_MODEL
        return {"problem": problem, "answer": answer, "figures": []}
    today, first = data["data_period"].first().get("current_snapshot_date"), listed.iloc[0]
    notes = [health(listed), distrust(data["model_figures"].rows)]
    if not pd.isna(today) and today != first.snapshot_date:
        notes.append(f"Today's snapshot is {day(today)}; these scores are older: run make score.")
    deciles = data["risk_by_decile"].rows
    scored = 0 if deciles.empty else int(deciles["users"].sum())
    seen = listed["last_event_at"].map("{:%Y-%m-%d}".format, na_action="ignore")
    rows = listed.assign(last_event=seen).astype(object)
    rows = rows.where(rows.notna(), "")
    return {
        "problem": "",
        "notes": [note for note in notes if note],
        "answer": answer,
        "finding": f"User {first.user_id} is the likeliest to cancel, at "
        f"{percent(first.churn_probability)}: {first.reason_1[:1].lower() + first.reason_1[1:]}.",
        "is_trustworthy": not health(listed),
        "snapshot_date": first.snapshot_date,
        "rows": [
            {**row, "reasons": told([row[f"reason_{i}"] for i in (1, 2, 3)])}
            for row in rows.to_dict("records")
        ],
        "all_users": int(first.all_users),
        "left_users": max(0, scored - int(first.all_users)),
        "levels": sorted({*rows["level"]} - {""}),
        "states": sorted({*rows["state"]} - {""}),
        "figures": figures_of("risk", data),
    }


def health(listed: pd.DataFrame) -> str:
    """What monitoring says against the scores of the listed users, else ''."""
    reason = listed["distrust_reason"].iloc[0]
    return f"Do not trust these scores. {reason}" if isinstance(reason, str) else ""
