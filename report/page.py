"""The page: which figures it has, in which order, and how they become one HTML file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ml.models import model_name
from report import charts, findings, places, svg
from report.data import NO_MODEL, Answer, Data
from report.profit import Assumptions, profit_curve
from report.words import METRICS, NOTHING, PAGES, feature_name, hours, number, percent

FOLDER = Path(__file__).resolve().parent
WIDE, HALF, PHONE = 760, 362, 328  # pixels; a chart of half a column fits a phone as it is
BASELINE = "recency"  # the best that needs no model

Cell = Callable[[Any], str]
Columns = Mapping[str, tuple[str, Cell]]
Legend = tuple[str, str, tuple[tuple[str, str], ...]]  # title, shape, (name of a colour, words)


@dataclass(frozen=True)
class Table:
    """A table as text: the first cell of a row is its heading."""

    headings: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Figure:
    """A chart with its finding; `problem` in place of both where it cannot be drawn."""

    id: str
    title: str
    finding: str = ""
    drawings: tuple[tuple[str, str], ...] = ()  # (wide, narrow or half; SVG)
    is_wide: bool = False
    note: str = ""
    legends: tuple[Legend, ...] = ()
    table: Table | None = None
    sources: tuple[Answer, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    id: str
    title: str
    figures: list[Figure]
    text: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Tile:
    """A figure at the top."""

    name: str
    value: str
    detail: str


def render(data: Data, assumed: Assumptions, written_at: datetime) -> str:
    """The HTML of the whole report."""
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    style = svg.stylesheet() + style
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = sections(data, assumed)
    risk = risk_list(data)
    by_id = {figure.id: figure for part in parts for figure in part.figures}
    wanted = ["weekly-churn", "groups", "pages", "lift", "deciles"]
    if not risk["problem"]:
        by_id["deciles"] = risk["deciles"]
    warning = findings.distrust(data["model_figures"].rows)
    in_short = [
        (name, by_id[name].finding)
        for name in (wanted[:3] if warning else wanted)
        if name in by_id and by_id[name].finding
    ] + ([("model", warning)] if warning else [])
    return environment.get_template("page.html.j2").render(
        data=data,
        period=data["data_period"].first(),
        period_sql=data["data_period"],
        model={"model_run_id": None, **data["shown_model"].first()},
        model_sql=data["shown_model"],
        tiles=tiles(data),
        in_short=in_short,
        sections=parts,
        risk=risk,
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


def day(value: object) -> str:
    """'2 December 2018'; a dash for no date."""
    return NOTHING if pd.isna(value) else f"{pd.Timestamp(value):%-d %B %Y}"


# --- the parts -----------------------------------------------------------------------------------


def sections(data: Data, assumed: Assumptions) -> list[Section]:
    """All parts in their order, but for the list of users, which the template lays out."""
    return [
        Section("churn", "Who cancels", [by_month(data), groups(data), map_figure(data)]),
        Section("behaviour", "What they do", behaviour(data)),
        Section("time", "Over time", over_time(data)),
        model_section(data, assumed),
        Section("data", "Is the data complete?", [missing(data)]),
    ]


def figure(
    id: str,
    title: str,
    answer: Answer,
    draw: Callable[[pd.DataFrame, int], alt.TopLevelMixin | None],
    find: Callable[[pd.DataFrame], str],
    columns: Columns | None = None,
    wide: bool = False,
    note: str = "",
    empty: str = "",
    legends: tuple[Legend, ...] = (),
) -> Figure:
    """A figure of the rows of a query; `empty` says why there may be none."""
    if answer.missing:
        return Figure(
            id,
            title,
            sources=(answer,),
            problem=f"There is no {answer.missing} yet: run dbt build.",
        )
    if answer.rows.empty:
        return Figure(
            id, title, sources=(answer,), problem=empty or "There is nothing to show yet."
        )
    finding = find(answer.rows)
    return Figure(
        id,
        title,
        finding,
        drawings(answer.rows, draw, finding, wide),
        wide,
        note,
        legends,
        table(answer.rows, columns) if columns else None,
        (answer,),
    )


def drawings(
    rows: pd.DataFrame,
    draw: Callable[[pd.DataFrame, int], alt.TopLevelMixin | None],
    label: str,
    wide: bool,
) -> tuple[tuple[str, str], ...]:
    """The chart for the widths that it is shown at."""
    rows = charts.with_dates_as_text(rows)
    sizes = (("wide", WIDE), ("narrow", PHONE)) if wide else (("half", HALF),)
    drawn = ((name, draw(rows, width)) for name, width in sizes)
    return tuple(
        (name, Markup(svg.draw(chart, label))) for name, chart in drawn if chart is not None
    )


def table(rows: pd.DataFrame, columns: Columns) -> Table:
    """The rows as text; what is null is a dash."""
    return Table(
        [heading for heading, _ in columns.values()],
        [
            [
                NOTHING if pd.isna(row[name]) else show(row[name])
                for name, (_, show) in columns.items()
            ]
            for row in rows.to_dict("records")
        ],
    )


def missing(data: Data) -> Figure:
    """Missing values per column."""
    return figure(
        "missing",
        "Missing values per column",
        data["missing_values"],
        lambda rows, width: (
            charts.missing_values(rows, width) if (rows["missing_rows"] > 0).any() else None
        ),
        findings.missing_values,
        {
            "column_name": ("Column", str),
            "mart": ("Table", str),
            "missing_rows": ("Rows without a value", number),
            "total_rows": ("Rows", number),
            "missing_share": ("Share", percent),
        },
        wide=True,
        note="Features of today's snapshot: null means never, or a ratio to nothing.",
    )


def by_month(data: Data) -> Figure:
    """Churned and stayed per month."""
    return figure(
        "months",
        "Churned and stayed per month",
        data["churn_by_month"],
        charts.churn_by_month,
        findings.churn_by_month,
        {
            "month_start_date": ("Month from", day),
            "churned_users": ("Churned", number),
            "stayed_users": ("Stayed", number),
            "unknown_users": ("Not yet known", number),
            "churned_share": ("Churned, of known", percent),
        },
        note="Users with a daily snapshot in the month: churned within ten days of one of them, "
        "or of none.",
        empty="A log of one day has no snapshot yet.",
    )


def groups(data: Data) -> Figure:
    """Churn rate by gender and level."""
    return figure(
        "groups",
        "Churn rate by gender and plan",
        data["churn_by_gender_and_level"],
        charts.churn_by_gender_and_level,
        findings.churn_by_gender_and_level,
        {
            "gender": ("Gender", str),
            "level": ("Plan", str),
            "users": ("Users", number),
            "churned_users": ("Churned", number),
            "churn_rate": ("Churn rate", percent),
            "low": ("95% from", percent),
            "high": ("to", percent),
        },
        note="Users of the whole log. Lines: 95% intervals (Wilson). The plan is that of the "
        "last event.",
        empty="No user has a known gender.",
    )


def map_figure(data: Data) -> Figure:
    """Map of states and cities."""
    states, cities = data["map_of_states"], data["map_of_areas"]
    found = cities.rows
    areas, placed = 0, pd.DataFrame()
    if not found.empty:
        areas = int(found["all_areas"].iloc[0])
        positions = [
            places.position(r.metro_area, r.state) if isinstance(r.state, str) else None
            for r in found.itertuples()
        ]
        found = found.assign(
            latitude=[p[0] if p else None for p in positions],
            longitude=[p[1] if p else None for p in positions],
        )
        placed = found[found["latitude"].notna()]
    users = data["data_period"].first().get("users", 0)
    known = int(states.rows["users"].sum()) if not states.rows.empty else 0
    names = places.states()
    steps = charts.rate_steps(states.rows) if not states.rows.empty else [0.1, 0.2, 0.3, 0.4]
    few = f"fewer than {charts.FEW_USERS} users"
    ranges = [
        f"below {percent(steps[0], 0)}",
        *(f"{percent(low, 0)} to {percent(high, 0)}" for low, high in pairwise(steps)),
        f"{percent(steps[-1], 0)} or more",
    ]
    legends = (
        ("States", "square", (("empty", few), *zip(charts.COLD, ranges, strict=True))),
        ("Areas, by users", "circle", (("paper", few), *zip(charts.WARM, ranges, strict=True))),
    )
    drawn = figure(
        "map",
        "Churn rate by state, and where users live",
        states,
        lambda rows, width: charts.map_of_states(rows, width, placed),
        lambda rows: findings.map_of_states(rows, areas, len(placed), int(users - known)),
        {
            "state": ("State", lambda state: names.get(state, (state,))[0]),
            "users": ("Users", number),
            "churned_users": ("Churned", number),
            "churn_rate": ("Churn rate", percent),
            "low": ("95% from", percent),
            "high": ("to", percent),
        },
        wide=True,
        note="Churned, of the users of the whole log. Areas are placed at their first city.",
        empty="No user has a known state.",
        legends=legends,
    )
    return replace(drawn, sources=(states, cities))


def behaviour(data: Data) -> list[Figure]:
    """Lifetime, listening, pages, correlations."""
    groups = lambda churned: "churned" if churned else "stayed"  # noqa: E731
    return [
        figure(
            "lifetime",
            "Lifetime",
            data["lifetime_distribution"],
            charts.lifetime_distribution,
            findings.lifetime_distribution,
            {
                "is_churned": ("Group", groups),
                "from_days": ("Days from", number),
                "users": ("Users", number),
                "share_of_group": ("Share of the group", percent),
            },
            note="It stops where a user leaves, or the log ends. The last step holds all above it.",
            empty="No user has a known registration.",
        ),
        figure(
            "listening",
            "Listening",
            data["listening_distribution"],
            charts.listening_distribution,
            findings.listening_distribution,
            {
                "is_churned": ("Group", groups),
                "from_minutes": ("Minutes from", number),
                "users": ("Users", number),
                "share_of_group": ("Share of the group", percent),
            },
            note="Songs count with their whole length. The last step holds all above it.",
        ),
        figure(
            "pages",
            "Pages opened, churned against stayed",
            data["page_counts"],
            lambda rows, width: (
                None if charts.page_ratios(rows).empty else charts.page_counts(rows, width)
            ),
            findings.page_counts,
            {
                "page_category": ("Page", lambda name: PAGES.get(name, str(name))),
                "is_churned": ("Group", groups),
                "mean_per_day": ("Mean per active day", "{:.3g}".format),
                "lower_quartile": ("Lower quartile", "{:.3g}".format),
                "median_per_day": ("Median", "{:.3g}".format),
                "upper_quartile": ("Upper quartile", "{:.3g}".format),
            },
            wide=True,
            note="1 is no difference. Per active day, as users who leave have fewer days.",
        ),
        figure(
            "correlations",
            "What moves together",
            data["feature_correlations"],
            lambda rows, width: (
                charts.feature_correlations(rows, width)
                if rows["correlation"].notna().any()
                else None
            ),
            lambda rows: (
                findings.feature_correlations(rows)
                if rows["correlation"].notna().any()
                else "No feature varies."
            ),
            {
                "feature": ("Feature", feature_name),
                "other_feature": ("With", feature_name),
                "correlation": ("Rank correlation", "{:+.2f}".format),
            },
            wide=True,
            note="Spearman's rank correlation over snapshots ten days apart, with a known outcome.",
            empty="No snapshot has a known outcome yet: that takes ten days.",
        ),
    ]


def over_time(data: Data) -> list[Figure]:
    """KPIs, retention, funnel, charts of songs."""
    weekly = data["weekly_figures"]
    no_week = "The log has no complete week yet."
    week = {"week_start_date": ("Week from", day)}
    return [
        figure(
            "daily",
            "Active users",
            data["daily_activity"],
            charts.daily_activity,
            findings.daily_activity,
            wide=True,
            note="Complete dates, UTC. The first 27 dates of a log have fewer than 28 to count.",
            empty="The log has no complete date yet.",
        ),
        figure(
            "weekly-churn",
            "Churn rate by week",
            weekly,
            charts.weekly_churn,
            findings.weekly_churn,
            {
                **week,
                "active_users": ("Users", number),
                "churned_users": ("Churned", number),
                "churned_share": ("Churn rate", percent),
                "low": ("95% from", percent),
                "high": ("to", percent),
            },
            note="Complete weeks. Band: 95% interval (Wilson).",
            empty=no_week,
        ),
        figure(
            "weekly-listening",
            "Listening by week",
            weekly,
            charts.weekly_listening,
            findings.weekly_listening,
            {**week, "listening_hours_per_user": ("Hours a user", hours)},
            note="Complete weeks, active users.",
            empty=no_week,
        ),
        figure(
            "weekly-paid",
            "Paid plan by week",
            weekly,
            charts.weekly_paid,
            findings.weekly_paid,
            {**week, "paid_share": ("Paid", percent)},
            note="The plan at the end of the week, of its active users.",
            empty=no_week,
        ),
        figure(
            "funnel",
            "From a look at the other plan to the change",
            data["plan_changes_after_a_look"],
            charts.plan_change_funnel,
            findings.plan_change_funnel,
            {
                "direction": ("Direction", str),
                "weeks": ("Weeks", number),
                "visiting_user_weeks": ("Looked", number),
                "converted_user_weeks": ("Changed", number),
                "converted_share": ("Share", percent),
            },
            note="Complete weeks; a user counts once a week.",
            empty=no_week,
        ),
        figure(
            "retention",
            "Retention of newcomers",
            data["retention_cohorts"],
            charts.retention_cohorts,
            findings.retention_cohorts,
            {
                "cohort_week_start_date": ("Registered in the week from", day),
                "weeks_since": ("Weeks since", number),
                "cohort_users": ("Users", number),
                "active_users": ("Active", number),
                "retained_share": ("Share", percent),
            },
            wide=True,
            note="Rows: week of registration, with its users. Complete weeks of the log only.",
            empty="Nobody registered in a complete week of the log, so there is no cohort of "
            "newcomers.",
        ),
        figure(
            "long-standing",
            "Retention of long-standing users",
            data["retention_before_log"],
            charts.retention_of_long_standing_users,
            findings.retention_of_long_standing_users,
            {
                **week,
                "first_level": ("Plan at first", str),
                "cohort_users": ("Users", number),
                "active_users": ("Active", number),
                "retained_share": ("Share", percent),
            },
            note="Registered before the log begins and seen in it; complete weeks.",
            empty="Nobody in the log registered before it began.",
        ),
        figure(
            "artists",
            "Most played artists",
            data["top_artists"],
            charts.top_artists,
            findings.top_artists,
            {"chart_rank": ("Rank", number), "artist": ("Artist", str),
             "plays": ("Plays", number), "users": ("Users", number)},
            note="Last complete week.",
            empty=no_week,
        ),
        figure(
            "songs",
            "Most played songs",
            data["top_songs"],
            charts.top_songs,
            findings.top_songs,
            {"chart_rank": ("Rank", number), "song": ("Song", str), "artist": ("Artist", str),
             "plays": ("Plays", number), "users": ("Users", number)},
            wide=True,
            note="Last complete week.",
            empty=no_week,
        ),
    ]  # fmt: skip


# --- the model -----------------------------------------------------------------------------------


def model_section(data: Data, assumed: Assumptions) -> Section:
    """How good the model is, or why that cannot be said."""
    title, answer, stored = "The model", data["model_figures"], data.model
    if answer.rows.empty:
        return Section("model", title, [], problem=stored.problem or NO_MODEL)
    rows, first = answer.rows, answer.rows.iloc[0]
    chosen = rows[rows["is_chosen"]]["model_name"].iloc[0]
    text = (
        f"Run {first.model_run_id}, trained {day(first.trained_at)}: {model_name(chosen)}, fitted "
        f"on snapshots {day(first.train_first_snapshot_date)} to "
        f"{day(first.train_last_snapshot_date)}. All figures here are of a backtest: of snapshots "
        f"{day(first.test_first_snapshot_date)} to {day(first.test_last_snapshot_date)}, each "
        f"predicted by a model fitted on earlier days, and say who cancels within "
        f"{first.horizon_days} days. A ROC AUC above 0.80 would be a leak until shown otherwise."
    )
    figures = [
        figure(
            "models",
            "Models compared, all users",
            answer,
            lambda rows, width: charts.model_figures(rows, width, "all"),
            findings.model_figures,
            note="95% intervals, of resampled users. Numbers of all figures: in the table.",
        ),
    ]
    figures[0] = replace(figures[0], table=figures_table(rows, "all"))
    if (rows["cohort"] == "new_users").any():
        new = figure(
            "models-new",
            "Models compared, users in no fit",
            answer,
            lambda rows, width: charts.model_figures(rows, width, "new_users"),
            lambda rows: findings.model_figures(rows, "new_users"),
            note="One user in five is in no fit of the backtest.",
        )
        figures.append(replace(new, table=figures_table(rows, "new_users")))
    if stored.problem:
        return Section("model", title, figures, text, problem=stored.problem)
    figures += curve_figures(data, chosen, assumed)
    return Section("model", title, figures, text, problem=findings.distrust(rows))


def curve_figures(data: Data, chosen: str, assumed: Assumptions) -> list[Figure]:
    """Figures from metrics.json of the run; their sentences from model_runs."""
    answer, metrics = data["model_figures"], data.model.metrics
    rows, points = answer.rows, metrics["curves"].get(chosen, [])
    if not points:
        problem = "The backtest has one class only, so there is no curve to draw."
        return [Figure("roc", "ROC curve", problem=problem, sources=(answer,))]
    money = pd.concat(
        profit_curve(metrics["curves"][name], assumed).assign(model=model_name(name))
        for name in (chosen, BASELINE)
        if metrics["curves"].get(name)
    )
    money["words"] = [
        f"{r.model}: contacting {percent(r.share)} of the list gains {r.profit:,.0f} per 1,000 "
        f"users"
        for r in money.itertuples()
    ]
    strongest = pd.DataFrame(metrics["strengths"][:15])
    stored = "The curve: metrics.json of the run; thin line: a guess."

    def one(
        id: str, title: str, draw: Callable[[int], alt.TopLevelMixin], finding: str, note: str,
        table: Table | None = None, wide: bool = False,
    ) -> Figure:  # fmt: skip
        drawn = drawings(rows, lambda _, width: draw(width), finding, wide)
        return Figure(id, title, finding, drawn, wide, note, table=table, sources=(answer,))

    return [
        one("roc", "ROC curve", lambda width: charts.roc(metrics, chosen, BASELINE, width),
            findings.roc(rows, points), stored),
        one("precision-recall", "Precision and recall",
            lambda width: charts.precision_recall(metrics, chosen, BASELINE, width),
            findings.precision_recall(rows), stored),
        one("lift", "Lift", lambda width: charts.lift(metrics, chosen, BASELINE, width),
            findings.lift(rows), stored),
        one("calibration", "Calibration", lambda width: charts.calibration(metrics, width),
            findings.calibration(rows, metrics["calibration"]),
            "Ten groups of equal size: metrics.json of the run. Thin line: as predicted.",
            table(pd.DataFrame(metrics["calibration"]), {
                "rows": ("Rows", number), "probability": ("Predicted", percent),
                "churn_rate": ("Churned", percent)})),
        one("profit", "Profit", lambda width: charts.profit(money, width),
            findings.profit(money[money["model"] == model_name(chosen)], assumed),
            "Your own numbers: python -m report --contact-cost 1 --saved-value 60 --save-rate 0.2. "
            "The curve: metrics.json of the run.", wide=True),
        one("features", "What the model looks at",
            lambda width: charts.strengths(strongest, width), findings.strengths(strongest),
            "Mean absolute contribution to the log odds over the rows of the fit: metrics.json of "
            "the run. What the model looks at is no cause.",
            table(strongest, {
                "feature": ("Feature", str), "theme": ("Theme", str),
                "mean_log_odds": ("Mean change of the log odds", "{:.3f}".format),
                "direction": ("Correlation of value and contribution", "{:+.2f}".format)}),
            wide=True),
    ]  # fmt: skip


def figures_table(rows: pd.DataFrame, cohort: str) -> Table:
    """All figures of all models, best ROC AUC first."""
    rows = rows[rows["cohort"] == cohort]

    def cell(figure: pd.Series | None) -> str:
        if figure is None:
            return NOTHING
        interval = "" if pd.isna(figure.low) else f" ({figure.low:.3f}–{figure.high:.3f})"
        return f"{figure.value:.3f}{interval}"

    by_key = {(r.model_name, r.metric): r for r in rows.itertuples()}
    order = rows[rows["metric"] == "roc_auc"].sort_values("value", ascending=False)["model_name"]
    names = list(dict.fromkeys([*order, *rows["model_name"]]))
    return Table(
        ["Model", *METRICS.values()],
        [[model_name(name), *(cell(by_key.get((name, m))) for m in METRICS)] for name in names],
    )


# --- the top and the list ------------------------------------------------------------------------


def tiles(data: Data) -> list[Tile]:
    """Six figures: all users, the last complete week, today's risk."""
    period = data["data_period"].first()
    found = [
        Tile(
            "Users in the log",
            number(period["users"]),
            f"{number(period['churned_users'])} have churned"
            + (
                f" ({percent(period['churned_users'] / period['users'])})"
                if period["users"]
                else ""
            ),
        )
    ]
    weeks = data["weekly_figures"].rows
    if not weeks.empty:
        weeks = weeks.sort_values("week_start_date", ignore_index=True)
        now = weeks.iloc[-1]
        before = weeks.iloc[-2] if len(weeks) > 1 else {}
        changed, points = findings.changed, {"as_points": True}
        found += [
            Tile("Active users, week", number(now.active_users),
                 changed(now.active_users, before.get("active_users"))),
            Tile("Churn rate, week", percent(now.churned_share),
                 changed(now.churned_share, before.get("churned_share"), **points)),
            Tile("On the paid plan", percent(now.paid_share),
                 changed(now.paid_share, before.get("paid_share"), **points)),
            Tile("Hours each, week", hours(now.listening_hours_per_user),
                 changed(now.listening_hours_per_user, before.get("listening_hours_per_user"))),
        ]  # fmt: skip
    risk = data["risk_by_decile"].rows
    if risk.empty:
        found.append(Tile("Expected to cancel", NOTHING, "no scores yet"))
    else:
        found.append(
            Tile(
                "Expected to cancel",
                f"{risk['expected_cancellations'].sum():.1f}",
                f"of {number(risk['users'].sum())} users, in ten days",
            )
        )
    return found


def risk_list(data: Data) -> Mapping[str, Any]:
    """What the template needs for the list of users: its rows, the choices of the filters and the
    figure of the tenths, or the problem."""
    answer, model = data["users_at_risk"], data["shown_model"].first()
    listed = answer.rows
    if listed.empty:
        trained = isinstance(model.get("model_run_id"), str)
        problem = (
            "No user has been scored yet: run make score."
            if trained
            else "No model has been trained yet: run make train, then make score."
        )
        return {"problem": problem, "answer": answer}
    today = data["data_period"].first().get("current_snapshot_date")
    notes = [findings.health(listed), findings.distrust(data["model_figures"].rows)]
    if not pd.isna(today) and today != listed["snapshot_date"].iloc[0]:
        notes.append(f"Today's snapshot is {day(today)}; these scores are older: run make score.")
    rows = listed.assign(
        last_event=[
            "" if pd.isna(value) else f"{pd.Timestamp(value):%Y-%m-%d}"
            for value in listed["last_event_at"]
        ]
    )
    rows = rows.astype(object).where(rows.notna(), "")
    return {
        "problem": "",
        "notes": [note for note in notes if note],
        "answer": answer,
        "finding": findings.users_at_risk(listed),
        "is_trustworthy": not findings.health(listed),
        "snapshot_date": listed["snapshot_date"].iloc[0],
        "rows": [
            {**row, "reasons": reasons(row)} for row in rows.to_dict("records")
        ],
        "all_users": int(listed["all_users"].iloc[0]),
        "levels": sorted({v for v in rows["level"] if v}),
        "states": sorted({v for v in rows["state"] if v}),
        "deciles": figure(
            "deciles",
            "Risk by tenth of the users",
            data["risk_by_decile"],
            charts.risk_by_decile,
            findings.risk_by_decile,
            {
                "risk_decile": ("Tenth", number),
                "users": ("Users", number),
                "mean_probability": ("Mean probability", percent),
                "lowest_probability": ("from", percent),
                "highest_probability": ("to", percent),
                "expected_cancellations": ("Expected to cancel", "{:.1f}".format),
            },
            wide=True,
            note="Tenth 1 has the highest risk.",
        ),
    }  # fmt: skip


def reasons(row: Mapping[str, object]) -> Sequence[str]:
    """The reasons of a user, each once."""
    return list(dict.fromkeys(str(row[f"reason_{i}"]) for i in (1, 2, 3) if row[f"reason_{i}"]))
