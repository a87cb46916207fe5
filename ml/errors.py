"""Errors of the ML step, each with an exit status of its own."""

from __future__ import annotations

from warehouse.errors import ProjectError


class TooLittleData(ProjectError):
    """The mart holds too little to train or to report on."""

    exit_status = 3


class Alarm(ProjectError):
    """Something speaks against using the model that was trained, and there is no other."""

    exit_status = 4


class LeakAlarm(Alarm):
    """A feature tells the label nearly by itself: the run stops before anything is fitted."""
