"""Events as lines of JSON: pieces that were made once, joined by Arrow."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simulator.catalogue import profile_pieces, song_pieces
from simulator.engine import Events
from simulator.population import session_ids, user_ids
from simulator.settings import Settings


class LineMaker:
    """Makes the lines of a log in the field order of the real one, absent keys left out."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        behaviour = settings.behaviour
        # the last piece is that of no song
        self._songs = pa.concat_arrays([song_pieces(settings), pa.array([""])])
        self._states = pa.array(
            f',"page":"{state.page}","auth":"{state.auth}"'
            f',"method":"{behaviour.methods[state.page][0]}"'
            f',"status":{behaviour.methods[state.page][1]},"level":"{state.level}"'
            ',"itemInSession":'
            for state in behaviour.states
        )
        self._is_anonymous = np.array([state.is_anonymous for state in behaviour.states])

    def lines(self, events: Events) -> pa.StringArray:
        """One line per event, its line feed included."""
        settings = self._settings
        number, place = np.unique(events["account"].astype(np.int64), return_inverse=True)
        # the last piece of a list is that of somebody who is not logged in
        place = np.where(self._is_anonymous[events["state"]], len(number), place)
        ids = [*user_ids(settings, number).tolist(), settings.anonymous_user_id]
        users = pa.array(f',"userId":{json.dumps(str(id_))},"sessionId":' for id_ in ids)
        profiles = pa.array([*profile_pieces(settings, number), ""])
        sessions = session_ids(settings, events["account"].astype(np.int64), events["session"])
        songs = np.where(events["song"] < 0, len(self._songs) - 1, events["song"])
        return pc.binary_join_element_wise(
            '{"ts":',
            _texts((events["seconds"].astype(np.int64) + settings.start_seconds) * 1000),
            users.take(pa.array(place)),
            _texts(sessions),
            self._states.take(pa.array(events["state"])),
            _texts(events["item"]),
            profiles.take(pa.array(place)),
            self._songs.take(pa.array(songs)),
            "}\n",
            "",
        )


def _texts(numbers: np.ndarray) -> pa.StringArray:
    return pa.array(np.ascontiguousarray(numbers)).cast(pa.string())


def text_of(lines: pa.StringArray) -> memoryview:
    """All lines, one after the other, without a copy."""
    offsets = _offsets(lines)
    return memoryview(lines.buffers()[2])[offsets[0] : offsets[-1]]


def ends_of(lines: pa.StringArray) -> list[int]:
    """Where in that text each line ends."""
    offsets = _offsets(lines)
    return (offsets[1:] - offsets[0]).tolist()


def _offsets(lines: pa.StringArray) -> np.ndarray:
    offsets = np.frombuffer(lines.buffers()[1], dtype=np.int32)
    return offsets[lines.offset : lines.offset + len(lines) + 1]
