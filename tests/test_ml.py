"""The ML step: split boundaries, figures, schema, alarms, reasons, and one run from end to end."""

from __future__ import annotations

import importlib.metadata
import io
import itertools
import json
import math
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pytest
import yaml
from empulse import metrics as empulse_metrics
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyspark.sql import Row, SparkSession
from pyspark.sql.functions import lit
from rich.table import Table
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LogisticRegression

from ml import (
    LeakAlarm,
    TooLittleData,
    card,
    figures,
    mixture,
    models,
    monitoring,
    reasons,
    store,
    tracking,
)
from ml import features as schema
from ml.__main__ import main
from ml.figures import Ranking
from ml.leak import COUNTS
from ml.score import checked
from ml.split import MAX_TEST_DAYS, min_days, origins, ranges, sampled, warm_start
from ml.train import LEAK_AUC, Loss, backtest, check_leaks, paired_losses, simplest
from tests.warehouse import (
    AWKWARD_NAME,
    IN_ONE_PIECE,
    active_spark,
    assert_same_rows,
    environment,
    run_process,
)
from tools import demo, setup_environment
from warehouse.console import Console, steps
from warehouse.errors import ProjectError
from warehouse.session import PROJECT_DIR, Target, load_target, spark_session

FIRST = date(2018, 10, 2)


class Ml(Protocol):
    """Run a command on a folder of models; returns what it printed, of a failure the error."""

    def __call__(self, folder: Path, *command: str, status: int = 0) -> str: ...


@pytest.fixture
def ml(capsys: pytest.CaptureFixture[str]) -> Ml:
    def run(folder: Path, *command: str, status: int = 0) -> str:
        capsys.readouterr()
        assert main([*command, "--artifacts", str(folder)]) == status
        captured = capsys.readouterr()
        return captured.err if status else captured.out

    return run


def in_one_line(text: str) -> str:
    return " ".join(text.split())


# --- split ---------------------------------------------------------------------------------------


@given(days=st.integers(1, 2000), horizon=st.integers(1, 60))
@example(days=15, horizon=10)
def test_no_label_window_reaches_into_the_days_that_are_judged(days: int, horizon: int) -> None:
    last = FIRST + timedelta(days=days - 1)
    if days < min_days(horizon):
        with pytest.raises(TooLittleData, match=f"{min_days(horizon)}"):
            origins(FIRST, last, horizon)
        return
    steps_back = origins(FIRST, last, horizon)
    assert steps_back[-1].test_last == last
    assert (steps_back[0].fit_last - FIRST).days >= 2
    judged = [(step.test_last - step.test_first).days + 1 for step in steps_back]
    assert len(set(judged)) == 1 and 1 <= sum(judged) <= MAX_TEST_DAYS
    for step in steps_back:
        # the window [D, D + horizon) of the last snapshot of the fit ends where the judged days
        # begin: no sooner, which would overlap, and no later, which would waste a day
        assert (step.test_first - step.fit_last).days == horizon
    for earlier, later in itertools.pairwise(steps_back):
        assert (later.test_first - earlier.test_last).days == 1
    # all days are in one of the ranges of which some are kept
    found = [day for first, end in ranges(FIRST, steps_back) for day in (first, end)]
    assert (found[0], found[-1]) == (FIRST, last)
    for end, first in zip(found[1:-1:2], found[2::2], strict=True):
        assert (first - end).days == 1


def test_a_backtest_of_the_fewest_days_and_of_one_less() -> None:
    steps_back = origins(FIRST, FIRST + timedelta(days=14), 10)
    assert (steps_back[0].fit_last - FIRST).days + 1 == 3
    with pytest.raises(TooLittleData, match="14 days .* needs 15:"):
        origins(FIRST, FIRST + timedelta(days=13), 10)


@pytest.mark.parametrize(
    ("days", "skipped"), [(60, 0), (90, 0), (91, 1), (117, 27), (118, 28), (1500, 28)]
)
def test_the_cut_windows_of_the_first_days_are_left_out_where_enough_remains(
    days: int, skipped: int
) -> None:
    first = warm_start(FIRST, FIRST + timedelta(days=days - 1))
    assert (first - FIRST).days == skipped


def test_thinning_keeps_the_last_day_and_the_bound() -> None:
    last = FIRST + timedelta(days=19)
    rows = {FIRST + timedelta(days=i): 10 for i in range(20)}
    all_days = [(FIRST, last)]
    assert len(sampled(rows, all_days, max_rows=200)[0]) == 20
    assert sampled(rows, all_days, max_rows=199)[0] == [
        FIRST + timedelta(days=i) for i in range(1, 20, 2)
    ]
    # never sparser than one horizon
    assert len(sampled(rows, all_days, max_rows=1)[0]) == 2
    # a day without rows is not a snapshot
    assert sampled({FIRST: 5}, all_days, max_rows=5)[0] == [FIRST]


@given(
    days=st.integers(min_days(10), 400),
    users=st.integers(1, 2_000_000),
    missing=st.sets(st.integers(0, 399), max_size=40),
    max_rows=st.integers(1, 200_000),
)
@example(days=31, users=33_500, missing=set(), max_rows=100_000)
@example(days=15, users=100, missing={2}, max_rows=1)
def test_thinning_leaves_no_part_empty_and_keeps_the_bound(
    days: int, users: int, missing: set[int], max_rows: int
) -> None:
    rows = {FIRST + timedelta(days=i): users for i in range(days) if i not in missing}
    wanted = ranges(FIRST, origins(FIRST, FIRST + timedelta(days=days - 1), 10))
    snapshots, user_share = sampled(rows, wanted, max_rows)
    there = [[day for day in rows if first <= day <= last] for first, last in wanted]
    for of_range in there:
        kept = [day for day in snapshots if day in of_range]
        assert bool(kept) == bool(of_range)
        # labels of ten days leave no gap
        assert len(of_range) <= 10 * max(len(kept), 1)
    assert len(snapshots) * users * user_share <= max_rows * (1 + 1e-9)
    if sum(map(len, there)) * users <= max_rows:
        assert (len(snapshots), user_share) == (sum(map(len, there)), 1)


# --- figures -------------------------------------------------------------------------------------

rows_of_predictions = st.lists(
    st.tuples(st.booleans(), st.integers(0, 10), st.integers(0, 3)), min_size=2, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(rows=rows_of_predictions)
def test_figures_equal_scikit_learn_with_ties_and_weights(
    rows: list[tuple[bool, int, int]],
) -> None:
    label = np.array([float(r[0]) for r in rows])
    probability = np.array([r[1] / 10 for r in rows])
    weight = np.array([float(r[2]) for r in rows])
    drawn = weight > 0
    sample = Ranking(label, probability).resampled(weight)
    both = len(set(label[drawn])) == 2
    assert math.isnan(figures.roc_auc(sample)) != both
    if not both:
        return
    for ours, theirs, predicted in (
        (figures.roc_auc, sklearn_metrics.roc_auc_score, probability),
        (figures.pr_auc, sklearn_metrics.average_precision_score, probability),
        (figures.brier, sklearn_metrics.brier_score_loss, probability),
        (figures.log_loss, sklearn_metrics.log_loss, np.clip(probability, 1e-15, 1 - 1e-15)),
    ):
        assert ours(sample) == pytest.approx(theirs(label, predicted, sample_weight=weight))


def test_lift_and_recall_by_hand() -> None:
    # ten rows, two churners, at ranks 1 and 6
    probability = np.arange(10, 0, -1) / 10
    label = np.zeros(10)
    label[[0, 5]] = 1
    sample = Ranking(label, probability)
    assert figures.recall_at(sample, 10) == 0.5
    assert figures.lift_at(sample, 10) == 5.0
    assert figures.recall_at(sample, 50) == 0.5
    assert figures.recall_at(sample, 60) == 1.0
    # all tied: the expectation, whatever the order of the rows
    tied = Ranking(label, np.full(10, 0.2))
    assert figures.recall_at(tied, 10) == pytest.approx(0.1)
    assert figures.lift_at(tied, 10) == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=2, max_size=60))
def test_curve_equals_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    label = np.array([float(r[0]) for r in rows])
    probability = np.array([r[1] / 10 for r in rows])
    points = figures.curve(Ranking(label, probability), points=1000)
    if len(set(label)) < 2:
        assert points == []
        return
    false_positive, recall, _ = sklearn_metrics.roc_curve(
        label, probability, drop_intermediate=False
    )
    assert [p["recall"] for p in points] == pytest.approx(recall)
    assert [p["false_positive_rate"] for p in points] == pytest.approx(false_positive)
    precision, _, _ = sklearn_metrics.precision_recall_curve(label, probability)
    assert [p["precision"] for p in points[1:]] == pytest.approx(precision[-2::-1])
    assert points[-1]["share"] == 1
    few = figures.curve(Ranking(label, probability), points=3)
    assert len(few) <= 4 and few[0] == points[0] and few[-1] == points[-1]


def test_calibration_error_by_hand() -> None:
    # 20 rows, bins of two: 0.3 predicted everywhere but in the top bin
    probability = np.r_[0.9, 0.8, np.linspace(0.31, 0.29, 18)]
    label = np.r_[1.0, 0.0, np.zeros(18)]
    sample = Ranking(label, probability)
    bins = figures.calibration_bins(sample)
    assert [b["rows"] for b in bins] == [2.0] * 10
    assert (bins[0]["probability"], bins[0]["churn_rate"]) == (pytest.approx(0.85), 0.5)
    expected = (2 * 0.35 + 18 * 0.3) / 20
    assert figures.calibration_error(sample) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [1, 9])  # with ties and without
@pytest.mark.parametrize(
    "campaign", [figures.Campaign(), figures.Campaign(40, 15, 2, alpha=1, beta=3)]
)
def test_expected_profit_equals_that_of_empulse(
    seed: int, digits: int, campaign: figures.Campaign
) -> None:
    generator = np.random.default_rng(seed)
    label = (generator.random(400) < 0.1).astype(float)
    probability = np.clip(0.1 + 0.1 * label + generator.normal(0, 0.1, 400), 0, 1).round(digits)
    expected = empulse_metrics.empc_score(
        label,
        probability,
        clv=campaign.value,
        incentive_cost=campaign.offer_cost,
        contact_cost=campaign.contact_cost,
        alpha=campaign.alpha,
        beta=campaign.beta,
    )
    found = figures.expected_profit(Ranking(label, probability), campaign)
    assert found == pytest.approx(expected, abs=1e-9)


def test_expected_profit_by_hand() -> None:
    # all who cancel above all others: contact them, and nobody else
    label, probability = np.r_[1.0, np.zeros(9)], np.linspace(0.9, 0.1, 10)
    found = figures.expected_profit(Ranking(label, probability))
    # it does not pay where fewer than 1 in 190 accept, which Beta(6, 14) all but rules out
    assert found == pytest.approx(0.1 * (0.3 * 190 - 1), abs=1e-6)
    assert math.isnan(figures.expected_profit(Ranking(label * 0, probability)))


def test_intervals_resample_users_not_rows() -> None:
    generator = np.random.default_rng(1)
    user = np.repeat(np.arange(40), 25)
    label = np.repeat(generator.random(40) < 0.3, 25).astype(float)
    probability = np.clip(0.2 + 0.2 * label + generator.normal(0, 0.1, 1000), 0.01, 0.99)
    by_user = figures.figures_with_intervals(label, probability, user, 100, seed=3)
    by_row = figures.figures_with_intervals(label, probability, np.arange(1000), 100, seed=3)

    def width(found: dict[str, figures.Interval]) -> float:
        return found["base_rate"]["high"] - found["base_rate"]["low"]

    assert width(by_user) > 3 * width(by_row)
    again = figures.figures_with_intervals(label, probability, user, 100, seed=3)
    for name in ("calibration_error", "expected_profit"):
        assert by_user.pop(name)["low"] is None
    for name, figure in by_user.items():
        assert figure == again[name]
        assert figure["low"] < figure["high"]


def recalibration(label: np.ndarray, probability: np.ndarray) -> LogisticRegression:
    """Cox's logistic regression of the label on the log odds, by scikit-learn."""
    log_odds = np.log(probability / (1 - probability))
    return LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(log_odds[:, None], label)


@pytest.mark.parametrize("digits", [2, 9])  # probabilities in fewer and in more bins than there are
def test_calibration_slope_equals_scikit_learn(digits: int) -> None:
    generator = np.random.default_rng(6)
    true = generator.beta(1, 12, 20_000)
    label = (generator.random(true.size) < true).astype(float)
    said = 1 / (1 + np.exp(-0.3 - 1.4 * np.log(true / (1 - true))))  # too extreme, and too low
    said = np.clip(said.round(digits), 0.005, 0.995)
    sample = Ranking(label, said)
    expected = recalibration(label, said)
    exact = {"abs": 1e-6} if digits == 2 else {"abs": 2e-3}
    assert figures.calibration_slope(sample) == pytest.approx(expected.coef_[0, 0], **exact)
    assert figures.calibration_slope(sample) < 0.8
    # with the slope at 1, the intercept makes as many churners as there are
    moved = np.log(said / (1 - said)) + figures.calibration_intercept(sample)
    assert (1 / (1 + np.exp(-moved))).mean() == pytest.approx(label.mean(), rel=1e-3)
    # rows drawn twice, and not at all
    weight = generator.integers(0, 3, label.size)
    drawn = Ranking(np.repeat(label, weight), np.repeat(said, weight))
    weighted = Ranking(label, said).resampled(weight)
    assert figures.calibration_slope(weighted) == pytest.approx(
        figures.calibration_slope(drawn), abs=2e-3
    )


def test_intervals_of_calibration_hold_the_truth_of_a_calibrated_set() -> None:
    held = {"calibration_slope": 0, "calibration_intercept": 0}
    for seed in range(40):
        generator = np.random.default_rng(seed)
        user = np.repeat(np.arange(1500), 2)
        log_odds = np.repeat(generator.normal(-3, 1, 1500), 2) + generator.normal(0, 0.2, 3000)
        probability = 1 / (1 + np.exp(-log_odds))
        label = (generator.random(3000) < probability).astype(float)
        found = figures.figures_with_intervals(label, probability, user, 200, seed)
        for name, truth in (("calibration_slope", 1), ("calibration_intercept", 0)):
            held[name] += found[name]["low"] <= truth <= found[name]["high"]
        # its interval would lie above the truth, 0, in each
        assert found["calibration_error"]["value"] > 0
        assert found["calibration_error"]["low"] is None
    assert held["calibration_slope"] >= 34 and held["calibration_intercept"] >= 34


@pytest.mark.parametrize(
    ("label", "probability"),
    [([0, 0, 1], [0.1, 0.2, 0.3]), ([0, 1], [0.2, 0.2]), ([0, 0], [0.1, 0.2])],
    ids=["told apart without an error", "one probability", "one class"],
)
def test_a_slope_that_no_data_gives_is_undefined(label: list, probability: list) -> None:
    sample = Ranking(np.array(label, dtype=float), np.array(probability))
    assert math.isnan(figures.calibration_slope(sample))


def test_an_intercept_is_found_from_far_away() -> None:
    # predicted one in a thousand, and three in ten are
    sample = Ranking(np.r_[np.ones(300), np.zeros(700)], np.full(1000, 0.001))
    expected = math.log(0.3 / 0.7) - math.log(0.001 / 0.999)
    assert figures.calibration_intercept(sample) == pytest.approx(expected)


def test_one_class_gives_no_auc_and_no_error() -> None:
    found = figures.figures_with_intervals(np.zeros(5), np.full(5, 0.1), np.arange(5), 5)
    assert found["roc_auc"] == {"value": None, "low": None, "high": None}
    assert found["base_rate"]["value"] == 0


# --- made-up features ----------------------------------------------------------------------------


def made_up_features(users: int, days: int, horizon: int = 10, seed: int = 5) -> pd.DataFrame:
    """A plausible churn_features with a signal: unhappy users cancel more, whoever is new too."""
    generator = np.random.default_rng(seed)
    unhappy = generator.gamma(1.0, 1.0, users)
    busy = generator.gamma(2.0, 6.0, users)
    is_paid = generator.random(users) < 0.7
    hazard = np.clip(0.001 + 0.006 * unhappy**1.5, 0, 0.2)
    churn_day = np.ceil(np.log(generator.random(users)) / np.log1p(-hazard)).astype(int)
    start = generator.integers(1, 120, users)
    frames = []
    for day in range(1, days + 1):
        alive = np.flatnonzero(churn_day >= day)
        label = (churn_day[alive] < day + horizon).astype(object)
        if day + horizon > days:
            label[:] = None
        row: dict[str, object] = {
            # markup to rich, and so an error, or a word that is not shown
            "user_id": [f"{user:03}[/b]a[b]c" for user in alive],
            "snapshot_date": FIRST + timedelta(days=day - 1),
            schema.LABEL: label,
            "is_paid": is_paid[alive],
            # of some, the events came before the registration
            "tenure_days": (start[alive] + day - 8).astype("int32"),
            "days_since_first_event": np.full(alive.size, day, dtype="int32"),
            schema.CATEGORY_COLUMN: generator.choice(["song", "home", "about"], alive.size),
        }
        for feature in schema.FEATURES:
            if feature.name in row:
                continue
            rate = 4 * unhappy[alive] if "thumbs_down" in feature.name else busy[alive]
            if feature.spark_type == "bigint":
                scale = 3_600_000 if "milliseconds" in feature.name else 1
                length = day if feature.name.endswith("to_date") else 7
                row[feature.name] = generator.poisson(rate * length / 7) * scale
            else:
                value = generator.gamma(2.0, rate / 2 + 0.1)
                value[generator.random(alive.size) < 0.1] = np.nan
                row[feature.name] = value
        frames.append(pd.DataFrame(row))
    return pd.concat(frames, ignore_index=True)


def encoded_sample(rows: int) -> pd.DataFrame:
    """What train.check_leaks gets: no single column tells much."""
    generator = np.random.default_rng(2)
    names = [column for column, _ in schema.columns()]
    sample = pd.DataFrame(generator.normal(size=(rows, len(names))), columns=names)
    return sample.assign(label=(generator.random(rows) < 0.2).astype(float))


def test_leak_alarm_names_a_planted_feature() -> None:
    sample = encoded_sample(1500)
    check_leaks(sample)
    planted = sample.assign(
        tenure_days=-3 * sample["label"] + np.random.default_rng(3).normal(size=1500)
    )
    with pytest.raises(LeakAlarm, match=r"tenure_days \(ROC AUC 0\.9") as alarm:
        check_leaks(planted)
    assert alarm.value.exit_status == 4
    assert "songs_to_date" not in str(alarm.value)


def test_leak_alarm_sees_a_null_that_tells_the_label() -> None:
    sample = encoded_sample(1500)
    tells = (sample["label"] == 1) & (np.random.default_rng(4).random(1500) < 0.95)
    planted = sample.assign(hours_since_last_song=sample["hours_since_last_song"].mask(tells))
    with pytest.raises(LeakAlarm, match="hours_since_last_song"):
        check_leaks(planted)


def test_leak_threshold_is_a_strict_one() -> None:
    # one churner above 17 of 20 others: exactly 0.85
    label = np.r_[1.0, np.zeros(20)]
    at = np.r_[17.5, np.arange(1.0, 21.0)][:, None]
    assert figures.strongest_single_feature(label, at)[0] == LEAK_AUC
    assert figures.strongest_single_feature(label, -at)[0] == LEAK_AUC
    sample = encoded_sample(21).assign(**{c: 0.0 for c, _ in schema.columns()}, label=label)
    check_leaks(sample.assign(tenure_days=at[:, 0]))
    with pytest.raises(LeakAlarm, match="tenure_days"):
        check_leaks(sample.assign(tenure_days=np.r_[18.5, at[1:, 0]]))


# --- schema and reasons --------------------------------------------------------------------------


def test_every_feature_has_words_for_a_value_and_for_none() -> None:
    assert len({f.name for f in schema.FEATURES}) == len(schema.FEATURES)
    for feature in schema.FEATURES:
        value = "song" if feature.spark_type == "string" else 2.5
        for given_value, typical in ((value, 1.5), (value, None), (None, None), (0.0, 1.0)):
            text = feature.phrase(given_value, typical)
            assert text and "nan" not in text and "None" not in text and "  " not in text


@pytest.mark.parametrize(
    ("name", "value", "typical", "text"),
    [
        ("hours_since_last_song", 216.0, 24.0, "No song for 9 days (typical: 24 hours)"),
        ("hours_since_last_song", 23.9, None, "Last song 24 hours ago"),
        ("hours_since_last_error", None, 3.0, "Never an error"),
        ("hours_since_last_thumbs_down", 0.5, None, "Last thumbs down 30 minutes ago"),
        (
            "thumbs_down_per_song_last_28_days",
            0.031,
            0.012,
            "Thumbs down 3.1 per 100 songs in the last 28 days (typical: 1.2)",
        ),
        ("adverts_per_song_to_date", None, 0.1, "No songs so far"),
        ("songs_last_7_days", 0.0, 40.0, "No songs in the last 7 days (typical: 40)"),
        ("songs_to_date", 1204.0, None, "1,204 songs so far"),
        (
            "listening_milliseconds_last_7_days",
            9_000_000.0,
            None,
            "2 hours of listening in the last 7 days",
        ),
        (
            "songs_trend_7_over_21_days",
            0.4,
            0.95,
            "Songs of the last 7 days at 40% of a week in the 3 weeks before (typical: 95%)",
        ),
        ("is_paid", 0.0, 1.0, "On the free plan"),
        ("tenure_days", 1.0, 90.0, "Registered 1 day ago (typical: 90 days)"),
        ("tenure_days", -3.0, 90.0, "Registered 3 days after the snapshot (typical: 90 days)"),
    ],
)
def test_words(name: str, value: float | None, typical: float | None, text: str) -> None:
    assert schema.BY_NAME[name].phrase(value, typical) == text


class Made(models.Model):
    """A model whose parts are given."""

    reads = ("thumbs_down_last_7_days", "thumbs_down_to_date", "hours_since_last_song", "is_paid")
    owners = (*reads[:3], reads[2], reads[3])

    def __init__(self, values: list[list[float]]) -> None:
        self.values = np.array(values)

    def parts(self, rows: pd.DataFrame) -> models.Parts:
        inputs = rows[list(self.owners)].to_numpy()
        return models.Parts(self.owners, inputs, self.values, np.full(len(rows), -2.0))


def test_reasons_are_themes_that_raise_the_risk_strongest_first() -> None:
    parts = [
        [0.2, 0.5, 0.9, -0.3, -1.0],
        [-0.2, -0.5, -0.9, -0.3, -1.0],
        # more thumbs down than others, and the strongest part of them is of a window with fewer
        [0.6, 0.2, 0.1, 0.0, 0.3],
        # what raises the risk has no value that would say so
        [0.6, -0.1, 0.0, 0.0, 0.0],
    ]
    rows = pd.DataFrame(
        {
            "snapshot_date": [FIRST] * 4,
            "user_id": ["a", "b", "c", "d"],
            "thumbs_down_last_7_days": [2.0, 2.0, 0.0, 0.0],
            "thumbs_down_to_date": [9.0, 9.0, 9.0, 9.0],
            "hours_since_last_song": [240.0, 240.0, np.nan, 1.0],
            "is_paid": [1.0, 1.0, 0.0, 1.0],
        }
    )
    typical = {"thumbs_down_last_7_days": 1.0, "thumbs_down_to_date": 2.0, "is_paid": 1.0}
    explained = reasons.Explained(
        model=Made(parts),
        center=(0.0,) * 5,
        typical=typical | {"hours_since_last_song": np.nan},
        strength={},
        direction=dict.fromkeys(Made.reads, 0.5),
        habits=(),
    )
    found = explained.scored(rows)
    assert found["churn_probability"].tolist() == pytest.approx(
        [1 / (1 + math.exp(2 - sum(each))) for each in parts]
    )
    assert found["habits_log_odds"].tolist() == pytest.approx([0.7, -0.7, 0.8, 0.5])
    assert found["recency_log_odds"].tolist() == pytest.approx([0.6, -1.2, 0.1, 0.0])
    assert found[["reason_1", "reason_2", "reason_3"]].to_numpy().tolist() == [
        ["9 thumbs down so far (typical: 2)", "No song for 10 days", reasons.NO_REASON],
        [reasons.NO_REASON] * 3,
        ["9 thumbs down so far (typical: 2)", "On the free plan", "Never a song"],
        [reasons.NO_REASON] * 3,
    ]


def test_that_nothing_else_is_a_reason_is_told_where_it_is_all() -> None:
    assert reasons.told(["On the free plan", reasons.NO_REASON, None]) == ["On the free plan"]
    assert reasons.told([reasons.NO_REASON] * 3) == [reasons.NO_REASON]


GUESS = reasons.Explained(
    model=models.Rates((), (0.1,)),
    center=(0.5,),
    typical={models.RECENCY: 3.0},
    strength={models.RECENCY: 0.5},
    direction={models.RECENCY: 0.0},
    habits=(),
)


def test_a_run_without_a_model_says_what_to_do(tmp_path: Path, ml: Ml) -> None:
    for command in ("score", "runs"):
        assert "python -m ml train" in ml(tmp_path, command, status=1)
    run = {"features": schema.TYPES, "categories": schema.CATEGORIES}
    store.save_run(tmp_path, "a run", GUESS, {"run.json": json.dumps(run)})
    for options in (("score", "--run", "another"), ("promote", "another")):
        assert "there are a run." in ml(tmp_path, *options, status=1)
    assert "`python -m ml promote <run>` puts one in use" in ml(tmp_path, "score", status=1)
    ml(tmp_path, "promote", "a run")
    assert store.run_in_use(tmp_path) == "a run"
    assert store.read_model(store.run_folder(tmp_path)) == GUESS


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"features": None}, "trained by an earlier version of this project: run"),
        ({"features": {"tenure_days": "int", "songs_ever": "bigint"}}, "songs_ever, which churn_f"),
        ({"categories": ["song", "other"]}, "other categories of the last event"),
    ],
)
def test_a_run_that_cannot_be_applied_any_more_says_so(
    change: dict, text: str, tmp_path: Path
) -> None:
    run = {"features": {"tenure_days": "int"}, "categories": list(schema.CATEGORIES)}
    (tmp_path / "model.json").touch()
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert store.read_run(tmp_path) == run
    changed = {name: value for name, value in (run | change).items() if value}
    (tmp_path / "run.json").write_text(json.dumps(changed))
    with pytest.raises(ProjectError, match=re.escape(text)):
        store.read_run(tmp_path)


def test_a_model_of_another_form_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_text(GUESS.to_json())
    assert store.read_model(tmp_path) == GUESS
    fields = json.loads(GUESS.to_json())
    del fields["strength"]
    file.write_text(json.dumps(fields))
    with pytest.raises(ProjectError, match="by an earlier version of this project: run"):
        store.read_model(tmp_path)
    file.write_text(GUESS.to_json()[:-1])  # as a copy that was cut
    with pytest.raises(ProjectError, match="model.json cannot be read .*: run `python -m ml train"):
        store.read_model(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["evaluate", "--first", "2019-13-01"], "'--first': Input should be a valid date"),
        (["train", "--max-rows", "many"], "'--max-rows': Input should be a valid integer"),
        (["train", "--replicates", "0"], "'--replicates': Input should be greater than or equal"),
    ],
)
def test_wrong_usage_says_what_is_right(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert text in capsys.readouterr().err


# --- what is printed -----------------------------------------------------------------------------

ODD = "x[/b] a[b]c :cat: /tmp/[red]/1"


def test_data_is_never_markup() -> None:
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True, color_system=None)
    table = Table(ODD, title=ODD)
    table.add_row(ODD)
    console.print(ODD)
    console.print(table)
    with console.status(ODD) as status:
        assert status.status.plain == ODD
    with steps(console)(ODD):
        pass
    assert text.getvalue().count(ODD) >= 5


def test_demo_shows_ids_as_they_are() -> None:
    text = io.StringIO()
    console = demo.Console(file=text, width=80)
    console.print(demo.risk_table([(ODD, "5.0%", ODD)]))
    assert max(map(len, text.getvalue().splitlines())) <= 80
    assert [text.getvalue().count(word) for word in ODD.split()] == [2] * len(ODD.split())


@pytest.mark.parametrize(("low", "verdict"), [(0.05, "It is better"), (0.04, "Not for certain")])
def test_demo_says_whether_the_model_beats_the_base_rate(low: float, verdict: str) -> None:
    def interval(value: float, low: float, high: float) -> dict[str, float]:
        return {"value": value, "low": low, "high": high}

    figures = {
        "base_rate": interval(0.04, 0.03, 0.05),
        "pr_auc": interval(0.1, low, 0.2),
        "roc_auc": interval(0.7, 0.6, 0.8),
        "lift_at_10_percent": interval(3, 2, 4),
    }
    sizes = {"all": {"users": 900, "churned_users": 90}}
    metrics = {"chosen": "one", "figures": {"one": {"all": figures}}, "cohorts": sizes}
    about, said = demo.about_model(metrics)
    assert "PR AUC 0.10 (" in about and "900 users of whom 90 cancel" in about
    assert said.startswith(verdict)


# --- the profile ---------------------------------------------------------------------------------


def test_profile_is_dbts_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHURN_SCHEMA", "other")
    monkeypatch.setenv("CHURN_WAREHOUSE", str(tmp_path))
    target = load_target("local", PROJECT_DIR)
    assert (target.published, target.ml) == ("other_published", "other_ml")
    assert target.settings["spark.sql.catalog.lake.warehouse"] == str(tmp_path)
    with pytest.raises(ProjectError, match="nowhere"):
        load_target("nowhere", PROJECT_DIR)
    with pytest.raises(ProjectError, match="--profiles-dir"):
        load_target("local", tmp_path)


def test_other_methods_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "profiles.yml").write_text(
        "churn_at_scale:\n  target: remote\n  outputs:\n    remote:\n      type: spark\n"
        "      method: thrift\n      host: localhost\n      schema: churn\n",
        encoding="utf-8",
    )
    with pytest.raises(ProjectError, match="'thrift'.*'session'"):
        spark_session(None, tmp_path)


# --- from end to end -----------------------------------------------------------------------------

DAYS = 55
TODAY = FIRST + timedelta(days=DAYS - 1)
COUNTED = ("score_bins", "score_outcomes")
SMALL_TRAINING = ("train", "--max-rows", "2500", "--replicates", "20")


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A session on a warehouse of its own, with made-up published features."""
    warehouse = tmp_path_factory.mktemp("of its own") / AWKWARD_NAME
    warehouse.mkdir()
    own = {"CHURN_WAREHOUSE": str(warehouse), "CHURN_SCHEMA": "mltest", **IN_ONE_PIECE}
    with environment(own):
        if running := SparkSession.getActiveSession():
            running.stop()
        spark, target = active_spark(), load_target(profiles_dir=PROJECT_DIR)
        for name in (target.published, target.ml):
            spark.sql(f"create namespace if not exists {name}")
        types = {**schema.KEYS, schema.LABEL: "boolean", **schema.TYPES}
        features = spark.createDataFrame(made_up_features(users=240, days=DAYS)[[*types]])
        features.selectExpr(*(f"cast({name} as {kind})" for name, kind in types.items())).replace(
            float("nan"), None
        ).writeTo(f"{target.published}.churn_features").create()
        spark.sql(
            f"create table {target.published}.churn_calendar as select date '{TODAY}' - 1 as "
            f"last_complete_date, date '{TODAY}' as current_snapshot_date"
        )
        yield spark
        spark.stop()


@pytest.fixture(scope="module")
def artifacts(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trained run; before it, that a missing table is told before any work.

    As on EMR, where pyspark is no package that was installed.
    """
    folder = tmp_path_factory.mktemp("artifacts") / f"{AWKWARD_NAME} [x]{{a,b}}*"
    command = [*SMALL_TRAINING, "--artifacts", str(folder)]
    assert main(command) == 1
    sources = yaml.safe_load((PROJECT_DIR / "models/staging/_sources.yml").read_text())["sources"]
    for table in next(source for source in sources if source["name"] == "ml")["tables"]:
        # scores of an earlier version had no columns by theme
        columns = [c for c in table["columns"] if not c["name"].endswith("_log_odds")]
        listed = ", ".join(f"{column['name']} {column['data_type']}" for column in columns)
        by_day = " partitioned by (snapshot_date)" if table["name"] == "churn_scores" else ""
        spark.sql(f"create table mltest_ml.{table['name']} ({listed}){by_day}")
    found = importlib.metadata.distribution

    def without_pyspark(name: str) -> importlib.metadata.Distribution:
        if name == "pyspark":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "distribution", without_pyspark)
        assert main(command) == 0
    return folder


def written(spark: SparkSession, table: str) -> list[Row]:
    """Rows of now: a DataFrame that was collected once gives its rows of then."""
    return sorted(spark.table(f"mltest_ml.{table}").collect())


def forget(spark: SparkSession, condition: str, table: str = "churn_scores") -> None:
    spark.sql(f"delete from mltest_ml.{table} where {condition}")


@contextmanager
def features_replaced(spark: SparkSession, select: str) -> Iterator[None]:
    """The published features as `select`, with `{kept}` for those that there are."""
    table, kept = "mltest_published.churn_features", "mltest_published.kept"
    spark.sql(f"alter table {table} rename to {kept}")
    try:
        spark.sql(f"create view {table} as {select.format(kept=kept)}")
        yield
    finally:
        spark.sql(f"drop view if exists {table}")
        spark.sql(f"alter table {kept} rename to {table}")


def no_outcome_where(condition: str) -> str:
    """The features, of which some have no outcome yet."""
    label = schema.LABEL
    return f"select * except ({label}), if({condition}, null, {label}) as {label} from {{kept}}"


NOBODY_CHURNS = f"select * from {{kept}} where not coalesce({schema.LABEL}, false)"


@contextmanager
def copied_run(
    spark: SparkSession, artifacts: Path, suffix: str, without: tuple[str, ...] = ()
) -> Iterator[str]:
    """The run in use under another name, gone at the end with its scores."""
    folder = store.run_folder(artifacts)
    run_id = f"{folder.name}-{suffix}"
    shutil.copytree(folder, artifacts / run_id)
    run = json.loads((folder / "run.json").read_text()) | {"model_run_id": run_id}
    kept = {name: value for name, value in run.items() if name not in without}
    (artifacts / run_id / "run.json").write_text(json.dumps(kept))
    try:
        yield run_id
    finally:
        shutil.rmtree(artifacts / run_id)
        forget(spark, f"model_run_id = '{run_id}'")
        assert main(["score", "--artifacts", str(artifacts)]) == 0


def test_training_leaves_figures_card_and_model(spark: SparkSession, artifacts: Path) -> None:
    folder = store.run_folder(artifacts)
    assert re.fullmatch(r"20\d{6}T\d{6}Z-[0-9a-f]{8}", folder.name)
    run = store.read_run(folder)
    assert list(run["features"].items()) == [(f.name, f.spark_type) for f in schema.FEATURES]
    metrics = json.loads((folder / "metrics.json").read_text())
    found = metrics["figures"]
    assert set(found) == {*models.BASELINES, *models.CANDIDATES}
    assert set(run["losses"]) == set(models.CANDIDATES)
    chosen = found[run["chosen"]]["all"]
    assert chosen["roc_auc"]["value"] > 0.6
    assert chosen["log_loss"]["value"] < found["base_rate"]["all"]["log_loss"]["value"]
    assert chosen["log_loss"]["value"] == pytest.approx(run["losses"][run["chosen"]]["log_loss"])
    # what the report draws
    assert set(metrics["curves"]) == set(found)
    last = metrics["curves"][run["chosen"]][-1]
    assert last["recall"] == 1 and last["precision"] == pytest.approx(
        chosen["base_rate"]["value"], abs=1e-6
    )
    strengths = metrics["strengths"]
    assert strengths[0]["mean_log_odds"] >= strengths[-1]["mean_log_odds"] >= 0
    assert 0 < chosen["calibration_slope"]["low"] < chosen["calibration_slope"]["high"]
    assert chosen["calibration_intercept"]["low"] < chosen["calibration_intercept"]["high"]
    assert chosen["calibration_error"]["low"] is None
    card = (folder / "MODEL_CARD.md").read_text()
    for text in (
        run["backtest"][0]["test_first"],
        "new_users",
        "calibration slope",
        "Intended use",
    ):
        assert text in card
    rows = spark.table("mltest_ml.model_runs")
    assert rows.count() == rows.dropDuplicates(["model_name", "cohort", "metric"]).count() > 200
    assert {r[0] for r in rows.where("is_chosen").select("model_name").distinct().collect()} == {
        run["chosen"]
    }
    assert not list(artifacts.glob(".*"))


def fitted_on_the_truth(explained: reasons.Explained) -> reasons.Explained:
    """The same, but for a model that knows the labels."""

    class Truth(Made):
        def probability(self, rows: pd.DataFrame) -> np.ndarray:
            return 0.02 + 0.9 * rows["label"].to_numpy()

    return replace(explained, model=Truth([]))


@pytest.mark.usefixtures("artifacts")
def test_a_run_is_judged_on_days_after_its_fit_and_a_better_one_takes_its_place(
    spark: SparkSession, tmp_path: Path, ml: Ml
) -> None:
    """Trained twelve days ago, and now; in between with a run in use that nothing can beat."""
    last = FIRST + timedelta(days=DAYS - 11)
    before = last - timedelta(days=12)
    with features_replaced(spark, no_outcome_where(f"snapshot_date > date '{before}'")):
        assert "is in use from now on" in ml(tmp_path, *SMALL_TRAINING)
        assert "No snapshot from" in ml(tmp_path, "evaluate", status=3)
    earlier = store.run_folder(tmp_path)
    told = in_one_line(ml(tmp_path, "evaluate"))
    assert f"fitted on snapshots up to {before}" in told
    assert f"on those of {before + timedelta(days=10)} to {last}" in told
    for period, status, text in (
        (("--first", str(before)), 1, f"--first {before} lies within"),
        (("--last", str(FIRST)), 1, f"--last {FIRST} lies within"),
        (("--first", "2020-01-01"), 3, f"those that have are of {FIRST} to {last}"),
    ):
        assert text in in_one_line(ml(tmp_path, "evaluate", *period, status=status))
    truth = fitted_on_the_truth(store.read_model(earlier))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "read_model", lambda _: truth)
        told = in_one_line(ml(tmp_path, *SMALL_TRAINING))
    assert "the log loss of the run in use is lower" in told
    assert f"Still in use: {earlier.name}" in told
    assert store.run_in_use(tmp_path) == earlier.name
    assert "random forest" in ml(tmp_path, *SMALL_TRAINING, "--compare")
    assert store.run_in_use(tmp_path) != earlier.name
    run = json.loads((store.run_folder(tmp_path) / "run.json").read_text())
    assert {*run["models"]} == {*models.BASELINES, *models.CANDIDATES, *models.classics()}
    assert {*run["losses"]} == {*models.CANDIDATES}
    shown = ml(tmp_path, "runs")
    assert shown.count("in use") == 1 and earlier.name in shown
    with features_replaced(spark, NOBODY_CHURNS):
        told = ml(tmp_path, "evaluate", "--run", earlier.name, status=3)
        assert "in the evaluated snapshots 0 users churn" in told
    for run_id in store.runs(tmp_path):
        forget(spark, f"model_run_id = '{run_id}'", "model_runs")


@pytest.mark.usefixtures("artifacts")
def test_a_run_that_an_alarm_speaks_against_is_not_used(
    spark: SparkSession, tmp_path: Path, ml: Ml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.train.CANDIDATES", {"guess": models.fit_base_rate})
    told = in_one_line(ml(tmp_path, *SMALL_TRAINING, status=4))
    assert "is not put in use: guess is no better than the base rate" in told
    (run_id,) = store.runs(tmp_path)
    assert f"python -m ml promote {run_id}" in told
    assert store.run_in_use(tmp_path) is None
    forget(spark, f"model_run_id = '{run_id}'", "model_runs")


def test_score_replaces_and_never_appends(spark: SparkSession, artifacts: Path, ml: Ml) -> None:
    active = spark.table("mltest_published.churn_features").where(f"snapshot_date = '{TODAY}'")
    run_id = store.run_in_use(artifacts)
    # a row of another day must stay, one of today that is no longer there must go
    for day, user in ((TODAY - timedelta(days=1), "stays"), (TODAY, "goes")):
        spark.sql(
            "insert into mltest_ml.churn_scores (model_run_id, snapshot_date, user_id, "
            "churn_probability, reason_1, reason_2, reason_3, scored_at) values "
            f"('{run_id}', date '{day}', '{user}', 0.5, 'a', 'b', 'c', timestamp '2018-12-01')"
        )
    shown = ml(artifacts, "score")
    assert "another warehouse" not in in_one_line(shown)
    first = {r["user_id"]: r for r in written(spark, "churn_scores")}
    assert set(first) == {r[0] for r in active.select("user_id").collect()} | {"stays"}
    for row in first.values():
        assert 0 < row["churn_probability"] < 1 and row["reason_1"] and row["reason_3"]
        # a table of an earlier version has got the columns that are new
        assert (row["habits_log_odds"] is None) == (row["user_id"] == "stays")
    of_today = [row for row in first.values() if row["snapshot_date"] == TODAY]
    likeliest = sorted(of_today, key=lambda row: (-row["churn_probability"], row["user_id"]))[:10]
    assert [row["user_id"] in shown for row in likeliest] == [True] * 10
    ml(artifacts, "score")
    assert {r["user_id"]: r for r in written(spark, "churn_scores")} == first


def test_past_snapshots_are_scored_and_readers_see_what_they_saw(
    spark: SparkSession, artifacts: Path, ml: Ml
) -> None:
    ml(artifacts, "score")
    shown, of_today = written(spark, "served_model"), written(spark, "churn_scores")
    days = [FIRST + timedelta(days=day) for day in (45, 46, 47)]
    first, last = str(days[0]), str(days[-1])
    for _ in range(2):
        told = ml(artifacts, "score", "--first", first, "--last", last)
        assert "it has seen the outcome" not in in_one_line(told)
        past = [row for row in written(spark, "churn_scores") if row not in of_today]
        assert {row["snapshot_date"] for row in past} == {*days}
        active = spark.table("mltest_published.churn_features").where(
            f"snapshot_date between '{first}' and '{last}'"
        )
        assert len(past) == active.count()
    ml(artifacts, "score", "--first", str(TODAY))
    assert written(spark, "served_model") == shown
    told = ml(artifacts, "score", "--first", str(FIRST), "--last", str(FIRST))
    assert "it has seen the outcome" in in_one_line(told)
    told = ml(artifacts, "score", "--first", "2020-01-01", status=1)
    assert "No snapshot from 2020-01-01 to" in told
    forget(spark, f"snapshot_date <= date '{last}'")


def test_scores_are_counted_by_bin_and_by_outcome(
    spark: SparkSession, artifacts: Path, ml: Ml
) -> None:
    """Those of a date are replaced, and an outcome is counted once it is known."""
    run_id = store.run_in_use(artifacts)
    past = FIRST + timedelta(days=DAYS - 12)
    score_past = ("score", "--first", str(past), "--last", str(past))
    unknown = no_outcome_where(f"snapshot_date = date '{past}'")
    with features_replaced(spark, f"{unknown} where user_id > '1'"):
        ml(artifacts, *score_past)
    of_past = [r for r in written(spark, "score_outcomes") if r["snapshot_date"] == past]
    assert of_past and all(row["cancellations"] is None for row in of_past)
    ml(artifacts, *score_past)
    ml(artifacts, "score")
    counted = [written(spark, table) for table in COUNTED]
    ml(artifacts, "score")
    assert [written(spark, table) for table in COUNTED] == counted

    features = spark.table("mltest_published.churn_features").toPandas()
    scores = spark.table("mltest_ml.churn_scores").where(f"model_run_id = '{run_id}'").toPandas()
    scored = scores.merge(features, on=["user_id", "snapshot_date"], validate="1:1")
    bins, outcomes = (pd.DataFrame([r.asDict() for r in rows]) for rows in counted)
    for day in (past, TODAY):
        of_day, rows = bins[bins["snapshot_date"] == day], scored[scored["snapshot_date"] == day]
        assert set(of_day["feature"]) == {*schema.BY_NAME, "churn_probability"}
        assert (of_day.groupby("feature")["users"].sum() == len(rows)).all()
        for name in ("songs_last_7_days", "hours_since_last_song", "churn_probability"):
            users = of_day[of_day["feature"] == name].set_index("bin_label")["users"]
            first = next(label for label in users.index if label.startswith("to "))
            assert users[first] == pytest.approx((rows[name] <= float(first[3:])).sum(), abs=1)
            assert users["missing"] == rows[name].isna().sum()
        outcome = outcomes[outcomes["snapshot_date"] == day]
        assert outcome["users"].sum() == len(rows)
        expected = outcome["expected_cancellations"].sum()
        assert expected == pytest.approx(rows["churn_probability"].sum(), abs=1e-6)
        # as many in each tenth, and the likeliest in the first
        per_decile = outcome.groupby("risk_decile")[["users", "expected_cancellations"]].sum()
        assert np.ptp(per_decile["users"]) <= 1 and len(per_decile) == 10
        assert per_decile["expected_cancellations"].is_monotonic_decreasing
        for level, is_paid in (("paid", True), ("free", False)):
            of_level = outcome[outcome["level"] == level]
            assert of_level["users"].sum() == (rows["is_paid"] == is_paid).sum()
        young = outcome[outcome["tenure"] == "under_30_days"]
        assert young["users"].sum() == (rows["tenure_days"] < 30).sum()
        if day == past:
            assert outcome["cancellations"].sum() == rows[schema.LABEL].sum() > 0
        else:
            assert outcome["cancellations"].isna().all()
    forget(spark, f"snapshot_date = date '{past}'")


def test_an_outcome_is_counted_by_the_scoring_after_it_is_known(
    spark: SparkSession, artifacts: Path, ml: Ml
) -> None:
    past = FIRST + timedelta(days=DAYS - 11)
    with features_replaced(spark, no_outcome_where(f"snapshot_date = date '{past}'")):
        ml(artifacts, "score", "--first", str(past), "--last", str(past))
    for is_known in (False, True):
        outcomes = spark.table("mltest_ml.score_outcomes").where(f"snapshot_date = '{past}'")
        assert outcomes.count() and outcomes.where("cancellations is null").isEmpty() == is_known
        ml(artifacts, "score")
    forget(spark, f"snapshot_date = date '{past}'")


def test_a_run_of_an_earlier_version_scores_without_a_reference(
    spark: SparkSession, artifacts: Path, ml: Ml
) -> None:
    with copied_run(spark, artifacts, "earlier", without=("bins",)) as run_id:
        # no train has written its figures
        told = in_one_line(ml(artifacts, "score", "--run", run_id))
        assert "trained on another warehouse" in told
        of_run = f"model_run_id = '{run_id}'"
        assert spark.table("mltest_ml.score_bins").where(of_run).isEmpty()
        assert not spark.table("mltest_ml.score_outcomes").where(of_run).isEmpty()


def test_a_score_is_explained(
    spark: SparkSession, artifacts: Path, ml: Ml, capsys: pytest.CaptureFixture[str]
) -> None:
    ml(artifacts, "score")
    row = next(r for r in written(spark, "churn_scores") if r["snapshot_date"] == TODAY)
    assert main(["explain", row["user_id"]]) == 0
    told = capsys.readouterr().out
    assert f"{row['churn_probability']:.1%} to cancel" in told and row["reason_1"] in told
    assert f"{row['habits_log_odds']:+.2f}" in told
    assert main(["explain", "nobody"]) == 1
    assert "User nobody is not in" in capsys.readouterr().err


def test_the_popular_way_is_shown_to_know_the_end(
    spark: SparkSession, artifacts: Path, ml: Ml
) -> None:
    """Users who all do the same, but for those who cancel and do no more."""
    counts = ", ".join(f"{i + 1}L + pmod(hash(user, day), 3) as {n}" for i, n in enumerate(COUNTS))
    spark.sql(
        f"""
        create table mltest_published.fct_user_days as
        select
            string(user) as user_id, date_add(date '{FIRST}', int(day)) as activity_date, {counts},
            timestamp '2018-09-01' as registered_at,
            if(user % 3 = 0 and day = user % 17, 1L, 0L) as cancellations
        from range(300) as u (user) cross join range(40) as d (day)
        where user % 3 <> 0 or day <= user % 17
        """
    )
    told = in_one_line(ml(artifacts, "train", "--leak"))
    auc = float(re.search(r"the user ever did (\d\.\d+)", told)[1])
    assert auc > 0.95
    in_use = card.auc_in_use(artifacts)
    assert f"judged on later days {in_use:.3f}" in told
    assert "Of 300 users, 100 of whom cancelled" in told
    assert re.search(r"Alone these columns tell: \w+ 1\.00", told)
    assert len(store.runs(artifacts)) == 1
    spark.sql("drop table mltest_published.fct_user_days")


def churn_risk(spark: SparkSession) -> list[str]:
    """Model runs that the mart, which is a view, shows now."""
    sql = (PROJECT_DIR / "models" / "marts" / "churn" / "churn_risk.sql").read_text()
    sql = sql[sql.index("with\n") :]  # without what is for dbt
    sql = re.sub(r"{{ source\('ml', '(\w+)'\) }}", r"mltest_ml.\1", sql)
    parents = {
        "dim_users": "'' user_id, '' level, '' platform, '' state, now() last_event_at, "
        "false is_churned",
        "model_health": "date '2000-01-01' snapshot_date, true is_trustworthy, '' distrust_reason",
        "churn_calendar": "date '2000-01-01' current_snapshot_date",
    }
    for name, columns in parents.items():
        sql = sql.replace(f"{{{{ ref('{name}') }}}}", f"(select {columns})")
    return [row[0] for row in spark.sql(sql).select("model_run_id").distinct().collect()]


def test_the_model_that_scored_last_is_served_an_earlier_one_again(
    spark: SparkSession, artifacts: Path, ml: Ml
) -> None:
    """Run A, then B, then A again, and A once more."""
    earlier = store.run_folder(artifacts).name
    times = []
    with copied_run(spark, artifacts, "later") as later:
        for run_id in (earlier, later, earlier, earlier):
            ml(artifacts, "score", "--run", run_id)
            (row,) = written(spark, "served_model")
            assert (row["model_run_id"], row["snapshot_date"]) == (run_id, TODAY)
            assert churn_risk(spark) == [run_id]
            times.append(row["served_at"])
        assert times[1] < times[2] == times[3]


@pytest.mark.thorough
@pytest.mark.nightly
@pytest.mark.parametrize("target", ["local", "comet"])
def test_users_train_the_same_model_from_rows_in_another_order(
    target: str, spark: SparkSession, artifacts: Path, tmp_path: Path
) -> None:
    """In a process of its own, with generated code, plans that change, and rows in seven parts.

    To the last bit: each fit sees the rows in the order of their keys.
    """
    if target == "comet" and not setup_environment.COMET_LIBRARY.is_file():
        pytest.skip("Comet is for Linux on x86-64 and arm64")
    assert main(["score", "--artifacts", str(artifacts)]) == 0
    with features_replaced(spark, "select /*+ repartition(7, songs_to_date) */ * from {kept}"):
        for command in (SMALL_TRAINING, ["score"]):
            options = ("--artifacts", str(tmp_path), "--target", target)
            run = ("python", "-m", "ml", *command, *options)
            run_process(*run, CHURN_SHUFFLE_PARTITIONS="7").ok()
    expected, found = store.run_folder(artifacts), store.run_folder(tmp_path)
    try:
        for file in ("run.json", "metrics.json"):
            left, right = (
                json.loads((folder / file).read_text()) | {"model_run_id": "", "trained_at": ""}
                for folder in (expected, found)
            )
            assert left == right
        spark.sql("refresh table mltest_ml.churn_scores")
        scores = spark.table("mltest_ml.churn_scores").where(f"snapshot_date = '{TODAY}'")
        left, right = (
            scores.where(f"model_run_id = '{folder.name}'") for folder in (expected, found)
        )
        assert left.count() > 100
        assert_same_rows(left, right, "churn_scores", ("model_run_id", "scored_at"))
    finally:
        for table in ("model_runs", "churn_scores", *COUNTED):
            spark.sql(f"refresh table mltest_ml.{table}")
            forget(spark, f"model_run_id = '{found.name}'", table)


@pytest.mark.parametrize(
    "cut",
    [
        "killed",
        pytest.param("twice", marks=pytest.mark.nightly),
        pytest.param("no probability", marks=pytest.mark.nightly),
        "a user less",
    ],
)
def test_readers_see_scores_only_after_they_were_written_and_checked(
    spark: SparkSession, artifacts: Path, cut: str, ml: Ml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong in the table after the write, readers are left at the scores they saw."""
    ml(artifacts, "score")
    shown = written(spark, "served_model")
    replace_rows = store.replace
    with copied_run(spark, artifacts, "later") as later:
        of_run = f"mltest_ml.churn_scores where model_run_id = '{later}'"
        some = f"user_id = (select max(user_id) from {of_run})"
        not_a_number = "mltest_ml.churn_scores set churn_probability = double('nan')"
        spoil = {
            "twice": f"insert into mltest_ml.churn_scores select * from {of_run} and {some}",
            "no probability": f"update {not_a_number} where model_run_id = '{later}' and {some}",
            "a user less": f"delete from {of_run} and {some}",
        }

        def write_and_spoil(spark: SparkSession, target: Target, table: str, *rest: Any) -> None:
            replace_rows(spark, target, table, *rest)
            if table == "churn_scores":
                if cut == "killed":
                    raise KeyboardInterrupt
                spark.sql(spoil[cut])

        with monkeypatch.context() as patch:
            patch.setattr(store, "replace", write_and_spoil)
            told = ml(artifacts, "score", "--run", later, status=130 if cut == "killed" else 1)
        assert cut == "killed" or "Not shown to readers: " in told
        assert spark.table("mltest_ml.churn_scores").where(f"model_run_id = '{later}'").count()
        assert written(spark, "served_model") == shown
        assert churn_risk(spark) == [store.run_in_use(artifacts)]
        ml(artifacts, "score", "--run", later)
        assert churn_risk(spark) == [later]


def test_a_run_needs_its_own_features_and_no_others(
    spark: SparkSession, artifacts: Path, ml: Ml, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # added to the project, and not yet, or already, to the mart
        added = replace(schema.BY_NAME["songs_to_date"], name="podcasts_to_date")
        patch.setitem(schema.BY_NAME, added.name, added)
        patch.setitem(schema.TYPES, added.name, added.spark_type)
        assert "missing: podcasts_to_date" in ml(artifacts, "train", status=1)
        ml(artifacts, "score")
        with features_replaced(spark, "select *, 1L as podcasts_to_date from {kept}"):
            ml(artifacts, "score")
    monkeypatch.delitem(schema.BY_NAME, "songs_to_date")
    for command in ("score", "evaluate"):
        told = ml(artifacts, command, status=1)
        assert "trained on songs_to_date, which churn_features.yml no longer has" in told


def test_nan_and_infinity_are_named_before_anything_is_fitted_or_written(
    spark: SparkSession, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {"adverts_per_song_to_date": "nan", "hours_since_last_song": "-infinity"}
    changed = ", ".join(
        f"if(user_id < '010', double('{value}'), {name}) as {name}"
        for name, value in columns.items()
    )
    before, runs = written(spark, "churn_scores"), sorted(artifacts.iterdir())
    with features_replaced(
        spark, f"select * except ({', '.join(columns)}), {changed} from {{kept}}"
    ):
        for name in ("train", "score"):
            assert main([name, "--artifacts", str(artifacts)]) == 1
            captured = capsys.readouterr()
            told = " ".join(captured.err.split())
            assert re.search(r"infinity in hours_since_last_song \(\d+ rows\), adverts_per_", told)
            assert "fit" not in captured.out
    assert (written(spark, "churn_scores"), sorted(artifacts.iterdir())) == (before, runs)


def test_a_score_that_is_none_is_not_written(spark: SparkSession) -> None:
    rows = [("a", 0.2, "x", "y", "z"), ("b", 0.0, "x", "y", "z")]
    day = lit(FIRST).alias("snapshot_date")
    names = ["user_id", "churn_probability", "reason_1", "reason_2", "reason_3"]
    assert checked(spark.createDataFrame(rows, names).select("*", day), "Nothing was written") == 2
    for bad in (
        ("b", 0.3, "x", "y", "z"),
        ("c", float("nan"), "x", "y", "z"),
        ("c", 1.1, "x", "y", "z"),
        ("c", 0.3, "x", "", "z"),
    ):
        with pytest.raises(ProjectError, match="Nothing was written: of 3 scores"):
            checked(
                spark.createDataFrame([*rows, bad], names).select("*", day), "Nothing was written"
            )


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """What split.collected gives, of features that are made up."""
    features = made_up_features(users=200, days=40)
    category = features[schema.CATEGORY_COLUMN]
    rows = features[["user_id", "snapshot_date"]].assign(
        label=features[schema.LABEL].astype(float),
        is_new=[int(user[:3]) % 5 == 0 for user in features["user_id"]],
        **{name: features[name].astype(float) for name in schema.BY_NAME if name != category.name},
        **{
            f"{category.name}_is_{one}": (
                category.where(category.isin(schema.CATEGORIES), "other") == one
            ).astype(float)
            for one in schema.CATEGORIES
        },
    )
    return rows[rows["label"].notna()].reset_index(drop=True)


def test_bins_are_tenths_of_the_last_week(rows: pd.DataFrame) -> None:
    last = rows["snapshot_date"].max()
    day = rows[rows["snapshot_date"] == last].copy()
    day["tenure_days"] = np.where(np.arange(len(day)) % 4 == 0, np.nan, np.arange(len(day)))
    day["errors_last_7_days"] = 0.0
    day["adverts_last_7_days"] = np.where(np.arange(len(day)) % 10 == 0, 3.0, 0.0)
    day["hours_since_last_error"] = np.nan
    two = [day, day.assign(snapshot_date=last - timedelta(days=6))]
    # a day before the week does not count
    before = day.assign(snapshot_date=last - timedelta(days=7), errors_last_7_days=9.0)
    rows = pd.concat([*two, before])
    found = monitoring.reference_bins(rows, lambda last: np.linspace(0, 1, len(last)))
    assert set(found) == {*schema.BY_NAME, "churn_probability"}
    for name, bins in found.items():
        assert sum(bins["users"]) == pytest.approx(len(day)), name
        assert len(bins["users"]) == len(bins["edges"]) + 2, name
    missing, *tenths = found["tenure_days"]["users"]
    assert missing == -(-len(day) // 4) and len(tenths) == 10
    assert max(tenths) - min(tenths) <= 1
    assert found["errors_last_7_days"] == {"edges": [], "users": [0, len(day)]}
    assert found["adverts_last_7_days"]["edges"] == [0]
    assert found["hours_since_last_error"]["users"] == [len(day), 0]
    assert len(found[schema.CATEGORY_COLUMN]["users"]) == 1 + len(schema.CATEGORIES)
    labels = monitoring._labels("tenure_days", {"edges": [1.5, 20.0]})
    assert labels == ["missing", "to 1.5", "over 1.5 to 20", "over 20"]


@pytest.mark.parametrize("name", [*models.BASELINES, *models.CANDIDATES])
def test_a_model_is_the_same_from_its_file_and_its_parts_add_up(
    rows: pd.DataFrame, name: str
) -> None:
    fit = (models.BASELINES | models.CANDIDATES)[name]
    model = fit(rows)
    explained = reasons.Explained.of(model, rows)
    again = reasons.Explained.from_json(json.loads(explained.to_json()))
    some = rows.iloc[::7]
    found = again.scored(some)
    expected = model.probability(some)
    assert found["churn_probability"].to_numpy() == pytest.approx(expected, abs=1e-6)
    pd.testing.assert_frame_equal(found, explained.scored(some))
    # themes are all that tells a user from the mean one
    log_odds = np.log(expected) - np.log1p(-expected)
    themes = found[list(reasons.THEME_COLUMNS)].sum(axis=1)
    assert np.ptp(log_odds - themes) < 1e-4
    # of a user alone it is the same: nothing hangs on the others of a batch
    pd.testing.assert_frame_equal(
        again.scored(some.iloc[[5]]).reset_index(drop=True),
        found.iloc[[5]].reset_index(drop=True),
    )
    # the order of the rows makes no other model
    shuffled = fit(rows.sample(frac=1, random_state=1))
    assert shuffled.probability(some) == pytest.approx(expected, abs=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["mixture_of_4_types", "xgboost"])
def test_mlflow_keeps_settings_figures_files_and_the_model(
    rows: pd.DataFrame, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    model = models.CANDIDATES[name](rows)
    interval = {"low": None, "high": None}
    figures_of = {
        name: {"all": {"roc_auc": {"value": 0.7, **interval}}, "paid": {}},
        "recency": {
            "all": {"roc_auc": {"value": 0.6, **interval}, "brier": {"value": None, **interval}}
        },
    }
    texts = {
        "run.json": {
            "label": schema.LABEL,
            "chosen": name,
            "horizon_days": 10,
            "fit": {"first": "2018-10-01", "last": "2018-11-20", "rows": len(rows)},
            "user_share": 1.0,
            "settings": {"max_rows": 100_000, "replicates": 200, "compare": False},
        },
        "metrics.json": {"chosen": name, "figures": figures_of},
    }
    artifacts = tmp_path / "artifacts"
    explained = reasons.Explained.of(model, rows)
    store.save_run(
        artifacts, "a run", explained, {file: json.dumps(text) for file, text in texts.items()}
    )
    assert [tracking.log_run(artifacts, "a run") for _ in range(2)] == ["1", "2"]

    (kept, _) = mlflow.search_runs(experiment_names=["churn"], output_format="list")
    assert kept.info.run_name == kept.data.tags["model_run_id"] == "a run"
    assert kept.data.params["chosen"] == name
    assert kept.data.params["last_snapshot_date"] == "2018-11-20"
    assert kept.data.metrics == {"roc_auc": 0.7, "roc_auc.recency": 0.6}
    files = {each.path for each in mlflow.MlflowClient().list_artifacts(kept.info.run_id)}
    assert {"model.json", "run.json", "metrics.json"} <= files
    again = mlflow.pyfunc.load_model("models:/churn/2")
    read = again.metadata.get_input_schema().input_names()
    assert read == sorted({*model.reads})
    some = rows.iloc[::7]
    assert again.predict(some[read]).to_numpy() == pytest.approx(model.probability(some), abs=1e-12)
    assert [path.name for path in tmp_path.iterdir()] == ["artifacts"]
    assert store.runs(artifacts) == ["a run"]


def test_train_says_what_mlflow_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main(["train", "--mlflow"]) == 1
    assert "--mlflow needs MLflow: `make setup` installs it." in capsys.readouterr().err


@pytest.mark.parametrize("name", [*models.classics()])
def test_a_classic_is_the_same_from_rows_in_another_order(rows: pd.DataFrame, name: str) -> None:
    fit, some = models.classics()[name], rows.iloc[::7]
    expected = fit(rows).probability(some)
    assert ((expected >= 0) & (expected <= 1)).all()
    auc = figures.roc_auc(Ranking(some["label"].to_numpy(), expected))
    assert auc > 0.6
    shuffled = fit(rows.sample(frac=1, random_state=1))
    assert shuffled.probability(some) == pytest.approx(expected, abs=1e-9)


def test_the_future_changes_no_prediction(rows: pd.DataFrame) -> None:
    """Types of users and probabilities are those of the rows before."""
    cut = FIRST + timedelta(days=20)
    model = models.CANDIDATES["mixture_of_4_types"](rows[rows["snapshot_date"] < cut])
    some = rows[rows["snapshot_date"] == cut]
    steps_back = origins(FIRST, cut, 10)
    before = backtest(rows[rows["snapshot_date"] <= cut], steps_back, models.CANDIDATES)
    later = rows.assign(label=rows["label"].where(rows["snapshot_date"] <= cut, 1.0))
    after = backtest(later, steps_back, models.CANDIDATES)
    pd.testing.assert_frame_equal(before, after)
    assert model.mixture is not None
    assert model.mixture.probabilities(some).sum(axis=1) == pytest.approx(1.0)


# --- types of users ------------------------------------------------------------------------------


def users_of_two_types(users: int = 400) -> pd.DataFrame:
    """Users with no other difference than how often a thumbs down follows a song."""
    generator = np.random.default_rng(1)
    rows = pd.DataFrame({"user_id": [f"u{i:04}" for i in range(users)], "snapshot_date": FIRST})
    for total, outcomes in schema.DRAWS.items():
        rows[total] = 300.0
        for outcome in outcomes:
            rate = np.full(users, 0.02)
            if "thumbs_down" in outcome:
                rate = np.where(np.arange(users) % 4 == 0, 0.12, 0.01)
            rows[outcome] = generator.binomial(300, rate).astype(float)
    return rows


def test_types_are_found_whatever_the_order_and_earlier_rows_do_not_count() -> None:
    rows = users_of_two_types()
    found = mixture.fit(rows, 2)
    assert found.shares == pytest.approx([0.75, 0.25], abs=0.01)
    types = found.probabilities(rows)
    assert (types[::4, 1] > 0.99).all() and types[::4].shape == (100, 2)
    of_type = np.ones(100, dtype=int)
    for telling in set(found.most_telling(rows[::4], of_type)):
        name, ratio = found.outcomes[telling][1], found.ratios[1, telling]
        assert "thumbs_down" in name and ratio == pytest.approx(0.12 / 0.0375, rel=0.1)
    # of a user who has done no such thing it is not said
    (paid, free, adverts) = schema.DRAWS.values()
    without = rows[::4].assign(**dict.fromkeys((*paid, *free), 0.0))
    told = {found.outcomes[each][1] for each in found.most_telling(without, of_type)}
    assert told <= {mixture.REST, *adverts}
    earlier = rows.assign(
        snapshot_date=FIRST - timedelta(days=1), **dict.fromkeys(schema.DRAWS, 1e6)
    )
    again = mixture.fit(pd.concat([rows, earlier]).sample(frac=1, random_state=3), 2)
    assert np.array_equal(again.log_shares, found.log_shares)
    assert np.array_equal(again.shares, found.shares)
    kept = json.dumps(asdict(found), default=np.ndarray.tolist)
    loaded = mixture.Mixture.from_json(json.loads(kept))
    assert np.array_equal(loaded.probabilities(rows), types)


def test_a_user_without_a_count_is_of_the_types_as_all_are() -> None:
    rows = users_of_two_types()
    found = mixture.fit(rows, 2)
    nothing = rows.head(1).assign(**{c: 0.0 for c in rows.columns if c.endswith("_to_date")})
    assert found.probabilities(nothing)[0] == pytest.approx(found.shares)
    # fewer users than types
    assert len(mixture.fit(rows.head(2), 3).shares) == 3


def test_every_outcome_is_part_of_a_draw() -> None:
    """What is counted after a song or an advert is drawn from all that came after it."""
    after = {n for n in schema.BY_NAME if re.search("_after_(song|advert)", n)}
    drawn = {name for outcomes in schema.DRAWS.values() for name in outcomes}
    assert after == drawn | {name for name in schema.DRAWS if "_after_" in name}


# --- the choice ----------------------------------------------------------------------------------


def test_the_simplest_within_a_standard_error_is_chosen() -> None:
    generator = np.random.default_rng(4)
    truth = generator.uniform(0.02, 0.4, 3000)
    predictions = pd.DataFrame(
        {
            "user_id": np.arange(3000) % 700,
            "label": (generator.random(3000) < truth).astype(float),
            "flat": np.full(3000, truth.mean()),
            "simple": np.clip(truth + generator.normal(0, 0.002, 3000), 0.01, 0.99),
            "complex": truth,
        }
    )
    found = paired_losses(predictions, ["flat", "simple", "complex"], 200)
    assert simplest(found) != "flat"
    near, best = Loss(0.401, 0.001, 0.002), Loss(0.4, 0.0, 0.0)
    far = Loss(0.403, 0.003, 0.002)
    assert simplest({"flat": far, "simple": near, "complex": best}) == "simple"
    assert simplest({"flat": far, "simple": far, "complex": best}) == "complex"
    lowest = min(found, key=lambda name: found[name].log_loss)
    assert found[lowest].above_best == found[lowest].standard_error == 0
    p, label = predictions["flat"].to_numpy(), predictions["label"].to_numpy()
    assert found["flat"].log_loss == pytest.approx(sklearn_metrics.log_loss(label, p))
    # users are drawn, not rows: of one user many rows are as one
    few = paired_losses(predictions.assign(user_id=predictions["user_id"] % 7), [*found], 200)
    assert few["flat"].standard_error != found["flat"].standard_error


def test_schema_error_names_columns_and_the_mend(spark: SparkSession) -> None:
    features = spark.table("mltest_published.churn_features")
    broken = features.drop("songs_to_date").withColumn("is_paid", features["is_paid"].cast("int"))
    with pytest.raises(ProjectError) as error:
        schema.assert_schema(broken)
    assert "missing: songs_to_date" in str(error.value)
    assert "is_paid is int, not boolean" in str(error.value)
    assert "dbt build" in str(error.value)
    assert schema.assert_schema(features.withColumn("new_column", features["is_paid"])).count()


def test_exit_status_of_too_little_data_and_of_a_leak(
    spark: SparkSession, artifacts: Path, ml: Ml
) -> None:
    before = store.run_in_use(artifacts)
    command = ("train", "--max-rows", "2500")
    telling = f"cast(if({schema.LABEL}, 1, 2) as int) as tenure_days"
    for select, status, text in (
        (f"select * from {{kept}} where {schema.LABEL} is null", 3, "no snapshot has a known"),
        (f"select * from {{kept}} where snapshot_date < date '{FIRST}' + 14", 3, "15"),
        (NOBODY_CHURNS, 3, "0 users churn"),
        (
            f"select * except (tenure_days), {telling} from {{kept}}",
            4,
            "tenure_days (ROC AUC 1.000)",
        ),
    ):
        with features_replaced(spark, select):
            assert text in ml(artifacts, *command, status=status)
    spark.sql("alter table mltest_published.churn_features rename to mltest_published.kept")
    try:
        assert "dbt build" in ml(artifacts, *command, status=1)
    finally:
        spark.sql("alter table mltest_published.kept rename to mltest_published.churn_features")
    assert store.run_in_use(artifacts) == before


def test_a_figure_above_80_for_certain_is_an_alarm() -> None:
    label, user = np.r_[np.ones(20), np.zeros(80)], np.arange(100)
    good = figures.figures_with_intervals(label, np.linspace(0.9, 0.1, 100), user, 3)
    flat = figures.figures_with_intervals(label, np.full(100, 0.2), user, 3)
    found = card.alarms(
        {"chosen": "xgboost"}, {"xgboost": {"all": good}, "base_rate": {"all": flat}}, 0.80
    )
    assert "leak until shown otherwise" in found[0]
