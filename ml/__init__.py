"""The ML step: reads the published churn features, writes churn scores and model runs."""

from pathlib import Path

from warehouse.errors import ProjectError

# where models are, unless --artifacts names another folder
ARTIFACTS = Path(__file__).resolve().parent.parent / "artifacts"


class TooLittleData(ProjectError):
    """The mart holds too little to train or to report on."""

    exit_status = 3


class Alarm(ProjectError):
    """Something speaks against using the model that was trained, and there is no other."""

    exit_status = 4


class LeakAlarm(Alarm):
    """A feature tells the label nearly by itself: the run stops before anything is fitted."""
