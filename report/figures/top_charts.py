"""Most played artists, and songs, of the last complete week: bars."""

import pandas as pd

from report.charts import Chart, bars, counts_axis
from report.figure import Column, Figure, columns, part_of
from report.words import NO_WEEK, day, number, several

RANK: dict[str, Column] = {"chart_rank": ("Rank", number)}
PLAYED: dict[str, Column] = {
    "artist": ("Artist", str),
    "plays": ("Plays", number),
    "users": ("Users", number),
}


def draw(rows: pd.DataFrame, width: int) -> Chart:
    # two titles that look the same when they are cut must stay two bars
    titles = [
        f"{r.chart_rank}. " + (f"{r.song} · {r.artist}" if r.kind == "song" else r.artist)
        for r in rows.itertuples()
    ]
    rows = rows.assign(title=titles)
    rows["shown"] = [f"{plays:,}" for plays in rows["plays"]]
    rows["words"] = [
        f"{r.title}: {several(r.plays, 'play')} by {several(r.users, 'user')}"
        for r in rows.itertuples()
    ]
    return bars(rows, width, "title", "plays", counts_axis("Plays in the week"))


def played_most(first: pd.Series) -> str:
    times, users = several(first.plays, "time"), several(first.users, "user")
    return f"was played most: {times}, by {users}."


def first_artist(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return f"In the week from {day(first.week_start_date)}, {first.artist} {played_most(first)}"


def first_song(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return f"“{first.song}” by {first.artist} {played_most(first)}"


ARTISTS = Figure(
    place=("time", 80),
    id="artists",
    title="Most played artists",
    queries=("top_charts",),
    read=part_of("top_charts", kind="artist"),
    draw=draw,
    finding=first_artist,
    table=columns(**RANK, **PLAYED),
    note="Last complete week.",
    empty=NO_WEEK,
)
SONGS = Figure(
    place=("time", 90),
    id="songs",
    title="Most played songs",
    queries=("top_charts",),
    read=part_of("top_charts", kind="song"),
    draw=draw,
    finding=first_song,
    table=columns(**RANK, song=("Song", str), **PLAYED),
    is_wide=True,
    note="Last complete week.",
    empty=NO_WEEK,
)
