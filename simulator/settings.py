"""What a run of the simulator is asked for."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Literal

from simulator.behaviour import Behaviour, load_behaviour

Format = Literal["json", "json.gz"]
Layout = Literal["flat", "dated"]


@dataclass(frozen=True)
class Settings:
    """Everything the bytes of a log depend on; dates are UTC, `end` is the last day."""

    users: int
    start: date
    end: date
    seed: int = 1
    format: str = "json"
    layout: str = "flat"
    dirt: float = 0.0
    scenario: str = "baseline"
    scenario_from: date | None = None
    """None: the day in the middle."""
    anonymous_user_id: str = ""

    @property
    def days(self) -> int:
        return (self.end - self.start).days + 1

    @property
    def start_seconds(self) -> int:
        return seconds(self.start)

    @property
    def end_seconds(self) -> int:
        """The first second after the log."""
        return seconds(self.end + timedelta(days=1))

    @property
    def behaviour(self) -> Behaviour:
        return load_behaviour(self.scenario)

    @property
    def scenario_seconds(self) -> tuple[int, int]:
        """The first second of the scenario, and the first after it."""
        first = self.scenario_from or self.start + timedelta(days=self.days // 2)
        days = self.behaviour.scenario_days
        end = self.end_seconds if days is None else seconds(first + timedelta(days=days))
        return seconds(first), end

    def file(self, day: int, again: bool = False) -> Path:
        """The file of a day, relative to the folder of the log; `again`: delivered twice."""
        date_ = self.start + timedelta(days=day)
        # sorts behind the first copy, as the first file by name holds the events that count
        suffix = f"{'_again' if again else ''}.{self.format}"
        if self.layout == "dated":
            return Path(f"date={date_}") / f"events{suffix}"
        return Path(f"events-{date_}{suffix}")


def seconds(day: date) -> int:
    """Seconds from 1970 to the midnight that a day starts with, UTC."""
    return int(datetime.combine(day, time(), timezone.utc).timestamp())
