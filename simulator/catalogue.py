"""Made-up people, places and songs as pieces of JSON, ready to be put into lines."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from simulator.engine import Songs
from simulator.population import PROFILE, registrations
from simulator.random_numbers import below, draw, streams, uniform
from simulator.settings import Settings

Ints = NDArray[np.int64]

# a song's artist: all artists times a uniform share to this power, so that some have many songs
_ARTIST_SKEW = 3


def as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@functools.cache
def words() -> dict[str, Any]:
    """catalogue.yml, with lists for words."""
    content = yaml.safe_load((Path(__file__).parent / "catalogue.yml").read_text("utf-8"))
    return {key: value.split() if isinstance(value, str) else value
            for key, value in content.items()}  # fmt: skip


def song_pieces(settings: Settings) -> pa.Array:
    """One piece per song, by rank: `,"artist":"...","song":"...","length":...`."""
    songs = Songs(settings)
    artists = settings.behaviour.numbers["songs"]["artists"]
    random = streams(0, 0, np.arange(songs.count))  # songs are the same for every seed
    artist = (artists * uniform(random) ** _ARTIST_SKEW).astype(np.int64)
    names = [as_json(name) for name in _names("bands", artists, purpose=1)]
    titles = _names("titles", songs.count, purpose=2)
    return pa.array(
        f',"artist":{names[by]},"song":{as_json(title)},"length":{length!r}'
        for by, title, length in zip(artist, titles, songs.lengths.tolist(), strict=True)
    )


def _names(kind: str, count: int, purpose: int) -> list[str]:
    """So many names made by the patterns of a kind; few are alike."""
    lists = [words()[key] for key in (kind, "adjectives", "nouns", "nouns", "singers")]
    random = streams(0, purpose, np.arange(count))
    choices = [below(draw(random), len(choice)).tolist() for choice in lists]
    return [
        lists[0][pattern].format(a=lists[1][a], n=lists[2][n], n2=lists[3][n2], s=lists[4][s])
        for pattern, a, n, n2, s in zip(*choices, strict=True)
    ]


def profile_pieces(settings: Settings, number: Ints) -> list[str]:
    """One piece per account: `,"location":...` to `"gender":...`."""
    random = streams(settings.seed, PROFILE, number)
    registration = registrations(settings, number)
    places, browsers = words()["places"], words()["browsers"]
    place = _weighted(list(places.values()), uniform(draw(random)))
    browser = _weighted(list(browsers.values()), uniform(draw(random)))
    is_female = below(draw(random), 2) == 0
    first = {key: below(draw(random), len(words()[key])) for key in ("female", "male")}
    last = below(draw(random), len(words()["last"]))
    place_names = [as_json(name) for name in places]
    browser_names = [as_json(name) for name in browsers]
    return [
        f',"location":{place_names[place[i]]},"userAgent":{browser_names[browser[i]]}'
        f',"lastName":"{words()["last"][last[i]]}"'
        f',"firstName":"{words()[sex][first[sex][i]]}"'
        f',"registration":{registration[i] * 1000},"gender":"{sex[0].upper()}"'
        for i, sex in enumerate(np.where(is_female, "female", "male"))
    ]


def _weighted(weights: list[float], share: NDArray[np.float64]) -> Ints:
    ends = np.cumsum(weights)
    return np.searchsorted(ends / ends[-1], share, side="right")
