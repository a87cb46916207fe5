"""Errors of the ML step, each with an exit status of its own."""

from __future__ import annotations

from warehouse.errors import ProjectError


class TooLittleData(ProjectError):
    """The mart holds too little to train or to report on."""

    exit_status = 3


class LeakAlarm(ProjectError):
    """A feature tells the label nearly by itself: the run stops before anything is fitted."""

    exit_status = 4
