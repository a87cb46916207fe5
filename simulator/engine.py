"""The Markov chain: all users of a chunk take one step at a time, as numpy arrays."""

from dataclasses import dataclass, fields
from datetime import date

import numpy as np
from numpy.typing import NDArray

from simulator.behaviour import DAY_SECONDS, SESSION_ENDS, STEPS, days_off
from simulator.population import EVENTS, Accounts, accounts
from simulator.random_numbers import Words, below, draw, exponential, streams, uniform
from simulator.settings import Settings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Events = NDArray[np.void]

NO_SONG = -1
_GOLDEN = 0.6180339887498949
EVENT = np.dtype(
    [
        ("seconds", np.uint32),  # from the start of the log
        ("account", np.int32),
        ("session", np.int32),  # 0, 1, ... of the account
        ("item", np.int32),
        ("song", np.int32),  # its rank by plays, from 0; NO_SONG
        ("state", np.uint8),
    ]
)


@dataclass(frozen=True)
class Outcome:
    """What became of the accounts of a chunk, one entry per account."""

    accounts: Accounts
    last_state: Ints
    churned_at: Ints
    """Seconds since 1970 of the confirmed cancellation, which may lie before the log; 0: none."""


def simulate(settings: Settings, number: Ints) -> tuple[Events, Outcome]:
    """Events within the log of the accounts with these numbers, and what became of them.

    Events are of type EVENT. Those of an account are in the order they happened in.
    """
    return _Chain(settings).run(accounts(settings, number))


@dataclass
class _Walkers:
    """The users who are still under way, one entry each; times are seconds since 1970."""

    place: Ints  # among the accounts of the chunk
    random: Words
    type: Ints
    page_seconds: Floats
    idle_seconds: Floats
    time: Ints
    state: Ints
    song: Ints
    song_end: Ints
    session: Ints
    item: Ints

    def keep(self, staying: Mask) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[staying])


class _Chain:
    def __init__(self, settings: Settings) -> None:
        behaviour = settings.behaviour
        self._start, self._end = settings.start_seconds, settings.end_seconds
        self._scenario_start, self._scenario_end = settings.scenario_seconds
        self._seed = settings.seed
        self._next_state, self._first_state = behaviour.next_state, behaviour.first_state
        self._songs = Songs(settings)
        self._calendar = Calendar(settings)
        self._is_song = np.array([state.page == "NextSong" for state in behaviour.states])
        self._is_cancelled = np.array([state.auth == "Cancelled" for state in behaviour.states])
        self._is_redirect = np.array(
            [300 <= behaviour.methods[state.page][1] < 400 for state in behaviour.states]
        )

    def run(self, who: Accounts) -> tuple[Events, Outcome]:
        outcome = Outcome(who, who.first_state.copy(), np.zeros_like(who.number))
        walkers = self._first_sessions(who)
        log: list[Events] = [np.empty(0, EVENT)]
        walkers.keep(walkers.time < self._end)
        while len(walkers.place):
            log.append(self._record(walkers, who))
            self._step(walkers, outcome)
        return np.concatenate(log), outcome

    def _first_sessions(self, who: Accounts) -> _Walkers:
        """Everybody at the start of a session, up to two idle times early.

        So the log begins in the middle of things, with sessions open at its start.
        """
        none = np.full_like(who.number, NO_SONG)
        begin = np.where(who.is_newcomer, who.registration, self._start)
        walkers = _Walkers(
            place=np.arange(len(who.number)),
            random=streams(self._seed, EVENTS, who.number),
            type=who.type,
            page_seconds=who.page_seconds,
            idle_seconds=who.idle_seconds,
            time=begin - 2 * who.idle_seconds.astype(np.int64),
            state=who.first_state.copy(),
            song=none.copy(),
            song_end=none.copy(),
            session=none.copy(),
            item=none.copy(),
        )
        early = walkers.place
        while len(early):
            self._wait(walkers, early)
            early = early[walkers.time[early] < begin[early] - who.idle_seconds[early]]
        self._open_sessions(walkers, walkers.place)
        return walkers

    def _record(self, walkers: _Walkers, who: Accounts) -> Events:
        """The present event of each user whose clock has reached the log."""
        shown = walkers.time >= self._start
        events = np.empty(np.count_nonzero(shown), EVENT)
        events["seconds"] = walkers.time[shown] - self._start
        events["account"] = who.number[walkers.place[shown]]
        for name in ("session", "item", "song", "state"):
            events[name] = getattr(walkers, name)[shown]
        return events

    def _step(self, walkers: _Walkers, outcome: Outcome) -> None:
        """Moves everybody to their next event, and takes out who cancelled or left the log."""
        w = walkers
        in_scenario = (w.time >= self._scenario_start) & (w.time < self._scenario_end)
        word = draw(w.random)
        following = self._next_state[
            in_scenario.astype(np.int64), w.type, w.state, below(word, STEPS)
        ].astype(np.int64)
        ends = following == SESSION_ENDS
        cancelled = ends & self._is_cancelled[w.state]
        before = w.state
        w.state = np.where(ends, before, following)

        is_song = self._is_song[w.state] & ~ends
        wait = (w.page_seconds * exponential(word)).astype(np.int64)
        wait[self._is_redirect[w.state]] = 1
        # a song follows at the end of the one before, unless that has been over for long
        wait = np.where(is_song & (w.song_end > w.time), w.song_end - w.time, wait)
        outcome.churned_at[w.place[cancelled]] = w.time[cancelled]
        w.time = w.time + np.where(ends, 0, wait)
        w.item = w.item + 1
        self._play(w, np.flatnonzero(is_song))
        w.song[~is_song] = NO_SONG
        restarting = np.flatnonzero(ends & ~cancelled)
        if len(restarting):
            self._wait(w, restarting)
            self._open_sessions(w, restarting)
        leaves = cancelled | (w.time >= self._end)
        if leaves.any():
            outcome.last_state[w.place[leaves]] = before[leaves]
            w.keep(~leaves)

    def _wait(self, walkers: _Walkers, which: Ints) -> None:
        """Moves some users to the start of their next session."""
        w = walkers
        w.time[which] = self._calendar.next_start(
            w.time[which], w.idle_seconds[which], w.random, which
        )

    def _open_sessions(self, walkers: _Walkers, which: Ints) -> None:
        """Lets some users begin a session with the auth and level that they have."""
        w = walkers
        w.state[which] = self._first_state[w.state[which], below(draw(w.random, which), STEPS)]
        w.session[which] += 1
        w.item[which] = 0
        w.song[which] = NO_SONG
        w.song_end[which] = 0
        self._play(w, which[self._is_song[w.state[which]]])

    def _play(self, walkers: _Walkers, which: Ints) -> None:
        """Starts a song at the present time of some users."""
        song = self._songs.played(draw(walkers.random, which))
        walkers.song[which] = song
        walkers.song_end[which] = walkers.time[which] + self._songs.whole_seconds[song]


class Songs:
    """Songs by their rank in popularity, the same for every seed."""

    def __init__(self, settings: Settings) -> None:
        numbers = settings.behaviour.numbers["songs"]
        most_played = numbers["plays_of_most_played"]
        self._shares = np.array([0, *most_played.values()], dtype=np.float64)
        self._log_ranks = np.log([1, *(rank + 1 for rank in most_played)])
        self.count = max(most_played)
        # evenly spread, so that the few songs that everybody plays are of all lengths
        share = (0.5 + _GOLDEN * np.arange(self.count)) % 1
        shorter = numbers["seconds"]
        self.lengths = np.round(np.interp(share, list(shorter.values()), list(shorter)), 5)
        given = numbers["seconds_of_most_played"]
        self.lengths[: len(given)] = given
        self.whole_seconds = self.lengths.astype(np.int64)

    def played(self, words: Words) -> Ints:
        """Ranks from 0 of songs that are played; between two points of the table, as 1/rank."""
        log_rank = np.interp(uniform(words), self._shares, self._log_ranks)
        return np.minimum(np.exp(log_rank).astype(np.int64) - 1, self.count - 1)


class Calendar:
    """When sessions start: more in the afternoon, fewer on days off."""

    def __init__(self, settings: Settings) -> None:
        self._numbers = settings.behaviour.numbers["calendar"]
        self._least_idle = settings.behaviour.numbers["rates"]["least_idle_seconds"]
        # whoever comes rarely starts long before the log
        first = date(settings.start.year - 10, 1, 1)
        days = (settings.end - first).days + 3 * 366
        midnights = settings.start_seconds + DAY_SECONDS * (
            np.arange(days) - (settings.start - first).days
        )
        fade = self._numbers["fade_minutes"] * 60 / 2
        self._knots = np.stack([midnights + fade, midnights + DAY_SECONDS - fade], axis=1).ravel()
        self._dropped = self._numbers["dropped_on_days_off"] * np.repeat(
            days_off(first, days, self._numbers), 2
        )

    def next_start(self, time: Ints, idle_seconds: Floats, random: Words, which: Ints) -> Ints:
        """Start of each user's session after the one that ended at `time`.

        `which` are the places of the users in `random`, which moves on.
        """
        time = time.copy()
        waiting = np.arange(len(time))
        while len(waiting):
            before = time[waiting]
            idle = idle_seconds[waiting] * exponential(draw(random, which[waiting]))
            candidate = self._warp(before + idle.astype(np.int64) + self._least_idle)
            dropped_share = np.interp(candidate, self._knots, self._dropped)
            is_later = candidate >= before
            time[waiting] = np.where(is_later, candidate, before + self._least_idle)
            is_kept = uniform(draw(random, which[waiting])) >= dropped_share
            waiting = waiting[~(is_kept & is_later)]
        return time

    def _warp(self, time: Ints) -> Ints:
        turn = (time - self._numbers["warp_from_hour"] * 3600) % DAY_SECONDS / DAY_SECONDS
        share = self._numbers["warp_share_of_day"] * np.sin(2 * np.pi * turn)
        return time + (share * DAY_SECONDS).astype(np.int64)
