"""One sentence per chart, computed from the rows that it draws."""

from __future__ import annotations

import pandas as pd

from ml.models import model_name
from report.charts import FEW_USERS, direction, page_ratios
from report.profit import Assumptions
from report.words import (
    PAGES,
    capitalized,
    feature_name,
    group_name,
    listed,
    number,
    percent,
    several,
)


def missing_values(rows: pd.DataFrame) -> str:
    """Which column lacks most."""
    lacking = rows[rows["missing_rows"] > 0]
    full = len(rows) - len(lacking)
    if lacking.empty:
        return f"None of the {len(rows)} columns lacks a value."
    profile = lacking[lacking["mart"] == "dim_users"]
    users = (
        "no column of users lacks a value"
        if profile.empty
        else f"of users, {listed(list(profile['column_name'].head(3)))} lack values"
    )
    worst = lacking.iloc[0]
    return capitalized(
        f"{users}; {full} of all {len(rows)} columns are complete, and "
        f"{worst.column_name} is null most often ({percent(worst.missing_share)})."
    )


def churn_by_month(rows: pd.DataFrame) -> str:
    """The month with most churn, and what is not yet known."""
    known = rows[rows["churned_share"].notna()]
    if known.empty:
        return "No outcome is known yet: it is, ten days after a snapshot."
    worst = known.loc[known["churned_share"].astype(float).idxmax()]
    month = f"{pd.Timestamp(worst.month_start_date):%B %Y}"
    unknown = int(rows["unknown_users"].sum())
    return (
        f"{worst.churned_users:,} of the {worst.churned_users + worst.stayed_users:,} active users "
        f"of {month} whose outcome is known cancelled ({percent(worst.churned_share)})"
        + (", the highest share of all months" if len(known) > 1 else "")
        + (
            f"; of {several(unknown, 'user')} of the last snapshots it is not known yet."
            if unknown
            else "."
        )
    )


def churn_by_gender_and_level(rows: pd.DataFrame) -> str:
    """Whether the intervals of the two plans, and of the genders, overlap."""
    sentences = []
    for column in ("level", "gender"):
        other = "gender" if column == "level" else "level"
        groups = rows[rows[column].notna() & rows[other].isna() & rows["churn_rate"].notna()]
        groups = groups.sort_values("churn_rate")
        if len(groups) < 2:
            continue
        low, high = groups.iloc[0], groups.iloc[-1]
        apart = "clearly apart" if low.high < high.low else "not clearly apart"
        names = [group_name(g.gender, g.level) for g in (high, low)]
        sentences.append(
            f"{names[0]} {'users ' if column == 'level' else ''}cancel at "
            f"{percent(high.churn_rate)}, "
            f"{names[1]} at {percent(low.churn_rate)}: {apart}"
        )
    return capitalized("; ".join(sentences)) + "." if sentences else "There is one group only."


def map_of_states(rows: pd.DataFrame, areas: int, placed: int, without_state: int) -> str:
    """The state with the highest rate of those with enough users, and how sure that is."""
    enough = rows[(rows["users"] >= FEW_USERS) & rows["churn_rate"].notna()]
    tail = f" {placed:,} of {several(areas, 'metropolitan area')} are on the map." + (
        f" {several(without_state, 'user')} have no known state." if without_state else ""
    )
    if enough.empty:
        return f"No state has {FEW_USERS} users, so none has a rate worth showing." + tail
    top = enough.loc[enough["churn_rate"].idxmax()]
    return (
        f"Of the {several(len(enough), 'state')} with {FEW_USERS} users or more, {top.state} has "
        f"the "
        f"highest churn rate: {top.churned_users:,} of {top.users:,} ({percent(top.churn_rate)}, "
        f"95% interval {percent(top.low)} to {percent(top.high)})." + tail
    )


def _medians(rows: pd.DataFrame, column: str, unit: str, what: str) -> str:
    medians = {bool(r.is_churned): float(r[column]) for _, r in rows.iterrows()}
    if len(medians) < 2:
        group = "churned" if True in medians else "stayed"
        value = next(iter(medians.values()))
        return f"All users with a known value {group}; their median is {number(value)} {unit}."
    return (
        f"The median {what} is {number(round(medians[True], 1))} {unit} of users who churned and "
        f"{number(round(medians[False], 1))} of those who stayed."
    )


def lifetime_distribution(rows: pd.DataFrame) -> str:
    """Median of both groups."""
    return _medians(rows, "median_days", "days", "time from registration to the last event")


def listening_distribution(rows: pd.DataFrame) -> str:
    """Median of both groups."""
    return _medians(rows, "median_minutes", "minutes", "listening per active day")


def page_counts(rows: pd.DataFrame) -> str:
    """The page with the largest and the smallest ratio."""
    ratios = page_ratios(rows)
    if ratios.empty:
        return "Nobody, or everybody, churned: there is nothing to compare."
    top, bottom = ratios.iloc[0], ratios.iloc[-1]
    return (
        f"Per active day, users who churned had {top.ratio:.2f} times as many "
        f"“{PAGES[top.page_category]}” as those who stayed, and {bottom.ratio:.2f} times as many "
        f"“{PAGES[bottom.page_category]}”."
    )


def feature_correlations(rows: pd.DataFrame) -> str:
    """The feature closest to the label, and the closest pair of features."""
    rows = rows[rows["correlation"].notna()]
    label = "is_churned_next_10_days"
    is_label = (rows["feature"] == label) | (rows["other_feature"] == label)
    pairs = rows[~is_label]
    if pairs.empty:
        text = "one feature alone varies"
    else:
        closest = pairs.loc[pairs["correlation"].abs().idxmax()]
        text = (
            f"{feature_name(closest.feature)} and {feature_name(closest.other_feature)} move "
            f"together most ({closest.correlation:+.2f})"
        )
    if not is_label.any():
        return capitalized(text) + "; nobody cancelled, so nothing moves with that."
    with_label = {
        (r.other_feature if r.feature == label else r.feature): float(r.correlation)
        for r in rows[is_label].itertuples()
    }
    name = max(sorted(with_label), key=lambda each: abs(with_label[each]))
    return capitalized(
        f"{text}; no single feature tells who cancels: the closest is {feature_name(name)} "
        f"({with_label[name]:+.2f})."
        if abs(with_label[name]) < 0.3
        else f"{text}; closest to a cancellation is {feature_name(name)} ({with_label[name]:+.2f})."
    )


def daily_activity(rows: pd.DataFrame) -> str:
    """Users of the last date, and against four weeks before."""
    rows = rows.sort_values("kpi_date", ignore_index=True)
    last = rows.iloc[-1]
    text = f"On {last.kpi_date:%-d %B %Y}, {several(last.active_users, 'user')} were active, "
    text += (
        f"{percent(last.active_share_of_last_28_days)} of the "
        f"{last.active_users_last_28_days:,} of four weeks"
        if last.active_users_last_28_days
        else "and nobody in the four weeks to it"
    )
    if len(rows) <= 28:
        return text + "."
    before = rows.iloc[-29]
    change = last.active_users_last_28_days - before.active_users_last_28_days
    way = (
        "as many as" if not change else f"{abs(change):,} {'more' if change > 0 else 'fewer'} than"
    )
    return f"{text}; these are {way} four weeks earlier."


def _weeks(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values("week_start_date", ignore_index=True)


def weekly_churn(rows: pd.DataFrame) -> str:
    """The last week's rate, and the range of all weeks."""
    rows = _weeks(rows)
    last, shares = rows.iloc[-1], rows["churned_share"].astype(float)
    text = f"In the week from {last.week_start_date:%-d %B %Y}, "
    text += (
        f"{last.churned_users:,} of {several(last.active_users, 'user')} cancelled "
        f"({percent(last.churned_share)})"
        if last.active_users
        else "nobody was active"
    )
    if shares.count() < 2:
        return text + "."
    return (
        f"{text}; in {shares.count()} weeks it was {percent(shares.min())} to "
        f"{percent(shares.max())}."
    )


def _change(rows: pd.DataFrame, column: str, shown: str, what: str) -> str:
    rows = _weeks(rows)
    rows = rows[rows[column].notna()]
    if rows.empty:
        return f"{what} is not known: nobody was active in a complete week."
    first, last = float(rows[column].iloc[0]), float(rows[column].iloc[-1])
    way = "unchanged at" if shown.format(first) == shown.format(last) else (
        f"{'up' if last > first else 'down'} from {shown.format(first)} to"
    )  # fmt: skip
    weeks = several(len(rows), "week")
    return f"{what} went {way} {shown.format(last)} in {weeks}." if len(rows) > 1 else (
        f"{what} was {shown.format(last)} in the one complete week with users."
    )  # fmt: skip


def weekly_paid(rows: pd.DataFrame) -> str:
    """From the first week to the last."""
    return _change(rows, "paid_share", "{:.1%}", "The share of the week's users on the paid plan")


def weekly_listening(rows: pd.DataFrame) -> str:
    """From the first week to the last."""
    return _change(rows, "listening_hours_per_user", "{:.1f} hours", "Listening per user and week")


def retention_cohorts(rows: pd.DataFrame) -> str:
    """All cohorts together, in the last week that several of them have reached."""
    users = rows.groupby("cohort_week_start_date")["cohort_users"].first()
    reached = rows[rows["weeks_since"] == min(4, rows["weeks_since"].max())]
    seen = reached["cohort_users"].sum()
    share = reached["active_users"].sum() / seen if seen else None
    weeks = int(reached["weeks_since"].iloc[0])
    return (
        f"{several(int(users.sum()), 'user')} registered in {several(len(users), 'week')} of the "
        f"log; "
        f"{percent(share)} of those seen {several(weeks, 'week')} later were active in that week."
    )


def retention_of_long_standing_users(rows: pd.DataFrame) -> str:
    """Both plans in the last week."""
    last = rows[rows["week_start_date"] == rows["week_start_date"].max()].sort_values(
        "retained_share", ascending=False
    )
    parts = [
        f"{percent(r.retained_share)} of those who were {r.first_level}" for r in last.itertuples()
    ]
    return (
        f"Of the users who registered before the log, {listed(parts)} at first were active in "
        f"the week "
        f"from {last['week_start_date'].iloc[0]:%-d %B %Y}."
    )


def plan_change_funnel(rows: pd.DataFrame) -> str:
    """Both directions."""
    parts = [
        f"{percent(r.converted_share)} of those who looked at the "
        f"{'paid' if r.direction == 'upgrade' else 'free'} plan changed to it"
        for r in rows.itertuples()
        if pd.notna(r.converted_share)
    ]
    return (
        capitalized(f"in the same week, {listed(parts)}.")
        if parts
        else "Nobody looked at the other plan."
    )


def top_artists(rows: pd.DataFrame) -> str:
    """The first."""
    first = rows.iloc[0]
    return (
        f"In the week from {first.week_start_date:%-d %B %Y}, {first.artist} was played most: "
        f"{several(first.plays, 'time')}, by {several(first.users, 'user')}."
    )


def top_songs(rows: pd.DataFrame) -> str:
    """The first."""
    first = rows.iloc[0]
    return (
        f"“{first.song}” by {first.artist} was played most: {several(first.plays, 'time')}, by "
        f"{several(first.users, 'user')}."
    )


# --- the model -----------------------------------------------------------------------------------


def _chosen(rows: pd.DataFrame, metric: str, cohort: str = "all") -> pd.Series | None:
    found = rows[rows["is_chosen"] & (rows["metric"] == metric) & (rows["cohort"] == cohort)]
    return None if found.empty else found.iloc[0]


def _interval(figure: pd.Series, digits: int = 3) -> str:
    if pd.isna(figure.low):
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"


def model_figures(rows: pd.DataFrame, cohort: str = "all") -> str:
    """The chosen model against a guess, and the best of all."""
    chosen = _chosen(rows, "roc_auc", cohort)
    if chosen is None:
        return "The backtest has one class only, so no model can be ranked."
    figures = rows[(rows["metric"] == "roc_auc") & (rows["cohort"] == cohort)]
    best = figures.loc[figures["value"].idxmax()]
    verdict = "better than a guess" if pd.notna(chosen.low) and chosen.low > 0.5 else (
        "not clearly better than a guess"
    )  # fmt: skip
    best_text = (
        "the highest of all"
        if best.model_name == chosen.model_name
        else f"the highest is that of {model_name(best.model_name)}, {best.value:.3f}"
    )
    return capitalized(
        f"{model_name(chosen.model_name)}, which was chosen, has a ROC AUC of "
        f"{_interval(chosen)}: {verdict}; {best_text}."
    )


def distrust(rows: pd.DataFrame) -> str:
    """A warning where the chosen model is no better than the base rate, else ''."""
    if rows.empty:
        return ""
    chosen = _chosen(rows, "log_loss")
    base = rows[(rows["model_name"] == "base_rate") & (rows["metric"] == "log_loss")]
    base = base[base["cohort"] == "all"]
    if chosen is None or base.empty or chosen.value < base["value"].iloc[0]:
        return ""
    return (
        f"In the backtest the log loss of this model ({chosen.value:.4f}) is not "
        f"below that of "
        f"the base rate ({base['value'].iloc[0]:.4f}): do not use its probabilities; more data "
        f"is needed."
    )


def health(listed: pd.DataFrame) -> str:
    """What monitoring says against the scores of the listed users, else ''."""
    reason = listed["distrust_reason"].iloc[0]
    return f"Do not trust these scores. {reason}" if isinstance(reason, str) else ""


def roc(rows: pd.DataFrame, points: list[dict[str, float]]) -> str:
    """Recall at a tenth of false alarms."""
    # where the first stop is beyond a tenth already, nobody is found within it
    within = [p["recall"] for p in points if p["false_positive_rate"] <= 0.1]
    auc = _chosen(rows, "roc_auc")
    area = "" if auc is None else f" The area under the curve is {_interval(auc)}."
    return (
        f"With one false alarm among ten users who stay, {percent(max(within, default=0), 0)} of "
        f"those who cancel are found; a guess finds 10%.{area}"
    )


def precision_recall(rows: pd.DataFrame) -> str:
    """Average precision beside the base rate."""
    figure, base = _chosen(rows, "pr_auc"), _chosen(rows, "base_rate")
    if figure is None or base is None:
        return "The backtest has one class only."
    return (
        f"Precision over all recalls (PR AUC) is {_interval(figure)}, where a guess has the base "
        f"rate "
        f"of {base.value:.3f}."
    )


def calibration(rows: pd.DataFrame, bins: list[dict[str, float]]) -> str:
    """The top tenth, and what the recalibration says."""
    slope, top = _chosen(rows, "calibration_slope"), bins[0]
    first = (
        f"The tenth with the highest probabilities was predicted to cancel at "
        f"{percent(top['probability'])} and did at {percent(top['churn_rate'])}"
    )
    if slope is None:
        return f"{first}."
    verdict = (
        ""
        if pd.isna(slope.low)
        else ": too extreme"
        if slope.high < 1
        else ": not extreme enough"
        if slope.low > 1
        else ", no clear difference from 1, which is right"
    )
    return f"{first}; the calibration slope of all is {_interval(slope, 2)}{verdict}."


def lift(rows: pd.DataFrame) -> str:
    """Lift and recall in the top tenth."""
    figure, recall = _chosen(rows, "lift_at_10_percent"), _chosen(rows, "recall_at_10_percent")
    if figure is None or recall is None:
        return "The backtest has one class only."
    return (
        f"The first tenth of the list cancels {_interval(figure, 1)} times as often as all "
        f"users, and "
        f"holds {percent(recall.value, 0)} of those who cancel."
    )


def profit(rows: pd.DataFrame, assumed: Assumptions) -> str:
    """Where the profit is highest."""
    best = rows.loc[rows["profit"].idxmax()]
    given = (
        f"If a contact costs {number(assumed.contact_cost)}, a user who stays is worth "
        f"{number(assumed.saved_value)} and {percent(assumed.save_rate, 0)} of those about to "
        f"cancel can "
        "be kept"
    )
    if best["profit"] <= 0:
        return f"{given}, contacting anybody by this list loses money."
    return (
        f"{given}, contacting the first {percent(best['share'], 0)} of the list pays most: "
        f"{best['profit']:,.0f} per 1,000 users on it."
    )


def strengths(rows: pd.DataFrame) -> str:
    """The strongest feature and its direction."""
    first = rows.iloc[0]
    way = direction(first["direction"])
    tail = "" if way == "both ways" else f" ({way})"
    return (
        f"What moves the predictions most is “{feature_name(first['feature'])}”{tail}; the "
        f"{len(rows)} strongest features are shown."
    )


def risk_by_decile(rows: pd.DataFrame) -> str:
    """What is expected of all, and of the first tenth."""
    expected, users = float(rows["expected_cancellations"].sum()), int(rows["users"].sum())
    first = rows.iloc[0]
    share = float(first.expected_cancellations) / expected if expected else 0.0
    return (
        f"{expected:.1f} of {several(users, 'user')} are expected to cancel in ten days, "
        f"{percent(share, 0)} of them in the tenth with the highest risk."
    )


def users_at_risk(rows: pd.DataFrame) -> str:
    """The first of the list."""
    first = rows.iloc[0]
    return (
        f"User {first.user_id} is the likeliest to cancel, at {percent(first.churn_probability)}: "
        f"{first.reason_1[:1].lower() + first.reason_1[1:]}."
    )


def changed(now: float | None, before: float | None, as_points: bool = False) -> str:
    """'+4.2%' or '-1.3 points' against the week before; '' where one is not known."""
    if now is None or before is None or pd.isna(now) or pd.isna(before):
        return ""
    if not as_points and not before:
        return ""
    if as_points:
        return f"{(now - before) * 100:+.1f} points on the week before"
    return f"{(now / before - 1) * 100:+.1f}% on the week before"
