"""Churn rate by gender and plan: dots with their intervals."""

import pandas as pd

from report.charts import Chart, intervals, share_axis
from report.figure import Figure, columns
from report.words import capitalized, number, percent, several

GENDERS = {"F": "women", "M": "men"}


def group_name(gender: object, level: object) -> str:
    """'women', 'paid', 'men, free': users by gender, level or both; null is everybody."""
    parts = [GENDERS.get(gender, gender) if isinstance(gender, str) else None, level]
    return ", ".join(part for part in parts if isinstance(part, str))


def draw(rows: pd.DataFrame, width: int) -> Chart:
    rows = rows.assign(
        group=[group_name(r.gender, r.level) for r in rows.itertuples()],
        kind=rows["gender"].notna().astype(int) + rows["level"].notna().astype(int),
    )
    rows = rows.sort_values(["kind", "level", "gender"], na_position="last", kind="stable")
    rows["words"] = [
        f"{r.group}: {r.churned_users:,} of {several(r.users, 'user')} ({percent(r.churn_rate)}; "
        f"{percent(r.low)} to {percent(r.high)})"
        for r in rows.itertuples()
    ]
    return intervals(rows, width, "group", "churn_rate", share_axis("Churn rate"), step=30)


def finding(rows: pd.DataFrame) -> str:
    """Whether the intervals of the two plans, and of the genders, overlap."""
    sentences = []
    for column, other, noun in (("level", "gender", "users "), ("gender", "level", "")):
        groups = rows[rows[column].notna() & rows[other].isna() & rows["churn_rate"].notna()]
        groups = groups.sort_values("churn_rate")
        if len(groups) < 2:
            continue
        low, high = groups.iloc[0], groups.iloc[-1]
        apart = "clearly apart" if low.high < high.low else "not clearly apart"
        sentences.append(
            f"{group_name(high.gender, high.level)} {noun}cancel at {percent(high.churn_rate)}, "
            f"{group_name(low.gender, low.level)} at {percent(low.churn_rate)}: {apart}"
        )
    return capitalized("; ".join(sentences)) + "." if sentences else "There is one group only."


FIGURE = Figure(
    place=("churn", 20),
    id="groups",
    title="Churn rate by gender and plan",
    queries=("churn_by_gender_and_level",),
    draw=draw,
    finding=finding,
    table=columns(
        gender=("Gender", str),
        level=("Plan", str),
        users=("Users", number),
        churned_users=("Churned", number),
        churn_rate=("Churn rate", percent),
        low=("95% from", percent),
        high=("to", percent),
    ),
    note="Users of the whole log. Lines: 95% intervals (Wilson). The plan is that of the last "
    "event.",
    empty="No user has a known gender.",
)
