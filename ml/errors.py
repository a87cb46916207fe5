"""Errors that end a command with one sentence and an exit status of their own."""

from __future__ import annotations


class MlError(Exception):
    """Something the user can mend; the message says what to do."""

    exit_status = 1


class TooLittleData(MlError):
    """The mart holds too little to train or to report on."""

    exit_status = 3


class LeakAlarm(MlError):
    """A feature tells the label nearly by itself: the run stops before anything is fitted."""

    exit_status = 4
