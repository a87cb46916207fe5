"""Jobs of EMR Serverless for moto, which executes state machines but knows no such job."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore.validate import validate_parameters
from moto.stepfunctions import models
from moto.stepfunctions.parser.api import HistoryEventType, TaskFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import (
    CustomErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (
    StatesErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (
    StatesErrorNameType,
)
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_unsupported as unsupported,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.resource import (
    ResourceCondition,
)
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

FAILED_JOB = "States.TaskFailed"  # what a job that failed by itself is to a state machine
CAUSE = '{"JobRunId": "00f"}'


@dataclass
class Jobs:
    """The jobs that state machines start. They take no time, and end well but for `errors`: by
    step, the error of each attempt."""

    errors: dict[str, list[str]] = field(default_factory=dict)
    started: list[dict] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    @property
    def steps(self) -> list[str]:
        """Names of the jobs in the order of their starts."""
        return [job["name"] for job in self.started]

    def take_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let moto run these jobs, wait for no retry, and execute what stacks make."""

        def run(task: Any, env: Any, normalised_parameters: dict, **_: Any) -> None:
            self.run(task, env, normalised_parameters)

        service = unsupported.StateTaskServiceUnsupported
        monkeypatch.setattr(
            unsupported, "_SUPPORTED_INTEGRATION_PATTERNS", {ResourceCondition.Sync}
        )
        monkeypatch.setattr(service, "_eval_service_task", run)
        monkeypatch.setattr(service, "_eval_integration_pattern", lambda *_, **__: None)
        monkeypatch.setattr(retrier_decl, "time", SimpleNamespace(sleep=self.waits.append))
        monkeypatch.setattr(models, "stepfunctions_backends", stepfunctions_parser_backends)

    def run(self, task: Any, env: Any, parameters: dict) -> None:
        """Start a job: its parameters must be those of the API."""
        service = botocore.session.get_session().get_service_model("emr-serverless")
        shape = service.operation_model("StartJobRun").input_shape
        task._to_boto_request(parameters, shape)
        validate_parameters(parameters, shape)
        self.started.append(parameters)
        if errors := self.errors.get(parameters["name"]):
            raise failure(env, errors.pop(0))
        env.stack.append({"State": "SUCCESS"})


def failure(env: Any, error: str) -> FailureEventException:
    """What ends a task of a state machine."""
    is_job = error == FAILED_JOB
    name = (
        StatesErrorName(StatesErrorNameType.StatesTaskFailed) if is_job else CustomErrorName(error)
    )
    details = TaskFailedEventDetails(error=error, cause=CAUSE)
    return FailureEventException(
        FailureEvent(
            env=env,
            error_name=name,
            event_type=HistoryEventType.TaskFailed,
            event_details=EventDetails(taskFailedEventDetails=details),
        )
    )
