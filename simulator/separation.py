"""python -m simulator.separation: can a classifier tell simulated user-days from those of a log?

An AUC of 0.5 says it cannot, 1.0 that it always can. Columns are counts, times and totals of a day.
The length of its longest song is not among them: to the millisecond it names the song, and songs
differ between the logs as users do.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow as pa
import typer
import xgboost as xgb
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from simulator.calibration import END, START, read_raw
from simulator.commands import program
from simulator.log_files import write_log
from simulator.settings import Settings

FIELDS = {"ts": pa.int64(), "userId": pa.string(), "sessionId": pa.int64(), "page": pa.string(),
          "level": pa.string(), "itemInSession": pa.int64(), "artist": pa.string(),
          "song": pa.string(), "length": pa.float64()}  # fmt: skip
USERS = 230
FOLDS = 5
TREES = {"max_depth": 4, "eta": 0.1, "subsample": 0.8, "nthread": 1, "seed": 1,
         "objective": "binary:logistic"}  # fmt: skip
ROUNDS = 100


def user_days(folder: Path) -> pd.DataFrame:
    """One row per user and date of a raw log (index), with what somebody did that day, no ids.

    Raises ValueError at a line that is no event, and where there is no file.
    """
    events = pd.concat(table.to_pandas() for table in read_raw(folder, pa.schema(FIELDS)))
    # a run after the other in the real sets, so the order of a user is that of time
    events = events[events["userId"] != ""].sort_values(["userId", "ts"], kind="stable")
    events["date"] = events["ts"] // 86_400_000
    keys = [events["userId"], events["date"]]
    second = events["ts"] // 1000
    events["gap"] = second.groupby(keys).diff()
    is_new = ~events.duplicated(["userId", "date", "sessionId"])
    by = events.groupby(["userId", "date"])
    days = pd.crosstab(keys, events["page"]).add_prefix("events ")
    days["sessions"] = is_new.groupby(keys).sum()
    days["paid_events"] = (events["level"] == "paid").groupby(keys).sum()
    days["listening_seconds"] = by["length"].sum()
    days["distinct_songs"] = (events["artist"] + events["song"]).groupby(keys).nunique()
    days["distinct_artists"] = by["artist"].nunique()
    days["last_item"] = by["itemInSession"].max()
    days["first_item"] = by["itemInSession"].min()
    days["mean_gap"] = by["gap"].mean()
    days["longest_gap"] = by["gap"].max()
    days["first_hour"] = by["ts"].min() // 3_600_000 % 24
    days["last_hour"] = by["ts"].max() // 3_600_000 % 24
    days["weekday"] = (days.index.get_level_values("date") + 3) % 7
    return days


def separate(one: pd.DataFrame, other: pd.DataFrame) -> tuple[float, pd.Series]:
    """Cross-validated AUC of a classifier of user-days, and how much it gains by each column.

    No user is in the training and in the test part of a fold.
    """
    columns = sorted({*one.columns, *other.columns})
    rows = pd.concat([one, other], keys=["one", "other"])
    features = rows.reindex(columns=columns).fillna(0).to_numpy(dtype=float)
    is_other = (rows.index.get_level_values(0) == "other").astype(int)
    users = rows.index.get_level_values(0) + rows.index.get_level_values("userId")
    predicted = np.zeros(len(rows))
    gains = []
    for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=1).split(
        features, is_other, users
    ):
        data = xgb.DMatrix(features[train], is_other[train], feature_names=columns)
        model = xgb.train(TREES, data, ROUNDS)
        predicted[test] = model.predict(xgb.DMatrix(features[test], feature_names=columns))
        gains.append(pd.Series(model.get_score(importance_type="total_gain")))
    gain = pd.concat(gains, axis=1).sum(axis=1)
    return roc_auc_score(is_other, predicted), (gain / gain.sum()).sort_values(ascending=False)


@program(
    "python -m simulator.separation", "Example:\n  python -m simulator.separation data/simulated"
)
def main(
    raw: Annotated[Path, typer.Argument(help="Folder of the log: see python -m simulator --help.")],
    users: Annotated[int, typer.Option(help="How many to simulate.")] = USERS,
    seed: int = 1,
) -> int:
    """Train a classifier to tell the user-days of a raw log from simulated ones."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "log"
        settings = Settings(users, START, END, seed)
        write_log(settings, out, workers=1, progress=lambda *_: None)
        try:
            auc, gains = separate(user_days(out), user_days(raw))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    print(f"AUC {auc:.3f}; most telling: "
          + ", ".join(f"{name} {share:.0%}" for name, share in gains.head(8).items()))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
