"""Most played artists, and songs, of the last complete week: bars."""

import pandas as pd

from report.charts import Chart, bars, counts_axis
from report.figure import Figure, columns
from report.words import NO_WEEK, day, number, several


def draw(rows: pd.DataFrame, width: int) -> Chart:
    # two titles that look the same when they are cut must stay two bars
    names = rows["song"] + " · " + rows["artist"] if "song" in rows else rows["artist"]
    rows = rows.assign(title=rows["chart_rank"].astype(str) + ". " + names)
    rows["shown"] = [f"{plays:,}" for plays in rows["plays"]]
    rows["words"] = [
        f"{r.title}: {several(r.plays, 'play')} by {several(r.users, 'user')}"
        for r in rows.itertuples()
    ]
    return bars(rows, width, "title", "plays", counts_axis("Plays in the week"))


def first_artist(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return (
        f"In the week from {day(first.week_start_date)}, {first.artist} was played most: "
        f"{several(first.plays, 'time')}, by {several(first.users, 'user')}."
    )


def first_song(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return (
        f"“{first.song}” by {first.artist} was played most: {several(first.plays, 'time')}, by "
        f"{several(first.users, 'user')}."
    )


ARTISTS = Figure(
    place=("time", 80),
    id="artists",
    title="Most played artists",
    queries=("top_artists",),
    draw=draw,
    finding=first_artist,
    table=columns(
        chart_rank=("Rank", number),
        artist=("Artist", str),
        plays=("Plays", number),
        users=("Users", number),
    ),
    note="Last complete week.",
    empty=NO_WEEK,
)
SONGS = Figure(
    place=("time", 90),
    id="songs",
    title="Most played songs",
    queries=("top_songs",),
    draw=draw,
    finding=first_song,
    table=columns(
        chart_rank=("Rank", number),
        song=("Song", str),
        artist=("Artist", str),
        plays=("Plays", number),
        users=("Users", number),
    ),
    is_wide=True,
    note="Last complete week.",
    empty=NO_WEEK,
)
