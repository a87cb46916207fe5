"""EMR without AWS: what the templates allow, what the commands would do, where tables and views go.

tests/test_rehearsal.py runs the jobs.
"""

import json
import pkgutil
import re
import shutil
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import WaiterError
from cfnlint.decode import decode_str
from dbt.cli.main import dbtRunner
from moto import mock_aws

from deploy.emr import __main__ as deploy
from deploy.emr.__main__ import _Aws, cluster_step, main
from deploy.emr.job import STEPS
from deploy.emr.pack import pack_project
from deploy.emr.rehearse import main as rehearse
from tests.conftest import RunMain
from tests.warehouse import ROOT, SAMPLE, Project, Run, environment, run_process, working_directory

if TYPE_CHECKING:
    from tests.fake_jobs import Jobs

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS::")  # what moto leaves out
Emr = Callable[..., Run]
TEMPLATES = sorted((ROOT / "deploy" / "emr").glob("*.yaml"))
# AWS has no resource to name for what sets up the log of a state machine.
OF_NO_RESOURCE = {
    *(f"logs:{verb}LogDelivery" for verb in ("Create", "Get", "Update", "Delete")),
    *("logs:ListLogDeliveries", "logs:PutResourcePolicy"),
    *("logs:DescribeResourcePolicies", "logs:DescribeLogGroups"),
}
CLUSTERS = "moto.emr.models.ElasticMapReduceBackend"
WITHOUT_TRAINING = [step for step in STEPS if step != "train"]


@pytest.fixture
def emr(run_main: RunMain) -> Emr:
    """Run a command of deploy.emr."""
    return lambda *arguments: run_main(main, *arguments)


def template(path: Path) -> dict:
    """A template with its functions as dictionaries."""
    found, problems = decode_str(path.read_text())
    assert not problems
    return found


def resources(kind: str) -> dict[str, dict]:
    """Properties of all resources of a type, by their name."""
    return {
        name: each.get("Properties", {})
        for path in TEMPLATES
        for name, each in template(path)["Resources"].items()
        if each["Type"] == kind
    }


def statements(value: object) -> list[dict]:
    """Every statement of a policy below a part of a template."""
    if isinstance(value, list):
        return [each for item in value for each in statements(item)]
    if isinstance(value, dict):
        own = [value] if "Effect" in value else []
        return own + [each for item in value.values() for each in statements(item)]
    return []


def wildcards(statement: dict) -> list[str]:
    """Actions and resources of a statement that have a wildcard."""
    parts = json.dumps([statement.get("Action"), statement.get("Resource")])
    return [text for text in re.findall(r'"([^"]*)"', parts) if "*" in text]


def says_why(text: str, lines: list[str]) -> bool:
    """Whether each line with this text, or one above it and its like, says why."""
    forms = [f'"{text}"', f" {text}"][: 1 if text == "*" else 2]  # a * alone has to be quoted
    found = [number for number, line in enumerate(lines) if any(form in line for form in forms)]
    for number in found:
        above = number
        while above and "*" in lines[above] and "#" not in lines[above]:
            above -= 1
        if "# wildcard" not in lines[above]:
            return False
    return bool(found)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_no_wildcard_without_a_reason(path: Path) -> None:
    lines = path.read_text().splitlines()
    found = statements(template(path))
    assert found
    for statement in found:
        for text in wildcards(statement):
            assert says_why(text, lines), f"{path.name}: {text} has no comment that says why"
            is_bounded = statement["Effect"] == "Deny" or set(statement["Action"]) <= OF_NO_RESOURCE
            assert is_bounded or text not in ("*", "s3:*")


def test_a_wildcard_without_a_reason_is_found() -> None:
    allowed = {"Effect": "Allow", "Action": ["s3:Get*"], "Resource": {"Fn::Sub": "${Bucket}/*"}}
    assert wildcards(allowed) == ["s3:Get*", "${Bucket}/*"]
    assert not says_why("s3:Get*", ['Action: ["s3:Get*"]'])
    assert not says_why("${Bucket}/*", ["# why", 'Resource: "${Bucket}/*"'])
    assert says_why("${Bucket}/*", ["# wildcard: so", 'Resource: "${Bucket}/*"'])


def test_buckets_are_encrypted_private_and_of_tls_only() -> None:
    buckets, policies = resources("AWS::S3::Bucket"), resources("AWS::S3::BucketPolicy")
    only_tls = ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert set(buckets) == {"DataBucket", "LogBucket"}
    for name, bucket in buckets.items():
        [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert [*bucket["PublicAccessBlockConfiguration"].values()] == [True] * 4
        assert bucket["LifecycleConfiguration"]["Rules"]
        [policy] = [each for each in policies.values() if each["Bucket"] == {"Ref": name}]
        [statement] = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Condition"]) == only_tls


def test_nothing_comes_in_from_outside() -> None:
    groups = resources("AWS::EC2::SecurityGroup")
    assert len(groups) == 3
    assert not any("SecurityGroupIngress" in group for group in groups.values())
    for rule in resources("AWS::EC2::SecurityGroupIngress").values():
        assert "SourceSecurityGroupId" in rule and "CidrIp" not in rule


def test_the_application_is_bounded_and_stops() -> None:
    [application] = resources("AWS::EMRServerless::Application").values()
    assert {"Cpu", "Memory", "Disk"} == set(application["MaximumCapacity"])
    assert application["AutoStopConfiguration"]["Enabled"] is True


def test_the_workflow_is_logged_and_bounded() -> None:
    [workflow] = resources("AWS::StepFunctions::StateMachine").values()
    [destination] = workflow["LoggingConfiguration"]["Destinations"]
    [group] = resources("AWS::Logs::LogGroup")
    assert workflow["LoggingConfiguration"]["Level"] == "ALL"
    assert destination["CloudWatchLogsLogGroup"]["LogGroupArn"] == {"Fn::GetAtt": [group, "Arn"]}
    definition = workflow["Definition"]
    # moto takes what is missing for false, but on AWS it ends the run: this is asked first
    absent = definition["States"][definition["StartAt"]]["Choices"][0]
    assert (absent["Variable"], absent["IsPresent"]) == ("$.train", False)
    task = definition["States"]["Steps"]["ItemProcessor"]["States"]["Run the job"]
    minutes = task["Parameters"]["ExecutionTimeoutMinutes"]
    assert minutes * 60 < task["TimeoutSeconds"] < definition["TimeoutSeconds"]


def test_a_step_of_the_cluster_is_that_of_the_workflow() -> None:
    for step in STEPS:
        arguments = cluster_step(step, "bucket", "churn")["HadoopJarStep"]["Args"]
        at = arguments.index("s3://bucket/code/job.py")
        assert arguments[at + 1 :] == [step, "--home", "s3://bucket"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["deploy"], ["stack churn of deploy/emr/template.yaml", "code/churn.zip"]),
        (["deploy", "--vpc", "vpc-1", "--subnet", "subnet-1"], ["stack churn-cluster"]),
        (
            ["deploy", "--set", "Schedule=rate(1 day)", "--schema", "lab"],
            ["Schedule=rate(1 day), Schema=lab"],
        ),
        (["run", "--raw", str(SAMPLE)], ["copy /", "build, train, score, report"]),
        (["run", "--no-train", "--cluster"], ["steps to the cluster", "build, score, report"]),
        (["destroy"], ["delete the stack churn:", "leave the data bucket"]),
        (["destroy", "--with-data"], ["all versions", "delete the data bucket"]),
    ],
    ids=" ".join,
)
def test_a_dry_run_says_what_it_would_do_and_asks_nobody(
    command: list[str], says: list[str], emr: Emr, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("boto3", "botocore"):
        monkeypatch.setitem(sys.modules, module, None)  # an import of it fails
    printed = emr(*command, "--dry-run").ok().output
    assert all(text in printed for text in [*says, "Nothing was done"]), printed


def test_what_a_demo_does_not_need_may_be_missing(
    emr: Emr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert emr("destroy") == Run(1, "Stopped: boto3 is not installed. Run `make setup`.\n")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["deploy", "--set", "Shedule=rate(1 day)"], "is not NAME=VALUE of FailureEmail"),
        (["deploy", "--set", "Vpc=vpc-1"], "is not NAME=VALUE of"),
        (["deploy", "--vpc", "vpc-1"], "needs both --vpc and --subnet"),
        (["run", "--raw", "no/such/folder"], "'no/such/folder' does not exist"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_told_before_anything_is_done(command: list[str], says: str, emr: Emr) -> None:
    emr(*command).failed(says, status=2)


@pytest.mark.parametrize(
    ("option", "says"),
    [("--raw", "does not exist"), ("--folder", "is not empty: name another")],
)
def test_a_rehearsal_wants_logs_and_a_folder_of_its_own(
    option: str, says: str, tmp_path: Path, run_main: RunMain
) -> None:
    (tmp_path / "build.log").touch()
    folder = tmp_path if option == "--folder" else tmp_path / "missing"
    run_main(rehearse, option, str(folder)).failed(says, status=2)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> "Jobs":
    """The jobs that state machines start; their polls and retries do not wait."""
    from tests.fake_jobs import Jobs  # imports much of moto

    found = Jobs()
    found.take_over(monkeypatch)
    monkeypatch.setattr(deploy, "POLL_SECONDS", 0.05)
    return found


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jobs: "Jobs") -> Iterator[Any]:
    """AWS by moto, in this process; it executes the state machine.

    It lacks applications of EMR Serverless, so a group of logs stands for one, and it wants a
    definition as text.
    """
    make_stack = _Aws.make_stack

    def make_what_moto_knows(aws: _Aws, name: str, path: Path, parameters: dict) -> None:
        found = template(path)
        if "Application" in found["Resources"]:
            found["Resources"]["Application"] = {"Type": "AWS::Logs::LogGroup"}
            machine = found["Resources"]["Workflow"]["Properties"]
            parts: list[Any] = re.split(r"\$\{(\w+)\}", json.dumps(machine.pop("Definition")))
            parts[1::2] = [machine["DefinitionSubstitutions"][part] for part in parts[1::2]]
            machine["DefinitionString"] = {"Fn::Join": ["", parts]}
        known = tmp_path / path.name
        known.write_text(json.dumps(found))
        make_stack(aws, name, known, parameters)

    def pack_nothing(archive: Path, folder: Path) -> Path:
        archive.touch()
        return archive

    monkeypatch.setattr(_Aws, "make_stack", make_what_moto_knows)
    monkeypatch.setattr(deploy, "pack_packages", pack_nothing)
    # a cluster of a stack has no machines in moto
    machines = [{"Id": "ci-1", "Ec2InstanceId": "i-0c0ffee"}]
    monkeypatch.setattr(f"{CLUSTERS}.list_instances", lambda *_, **__: machines)
    variables = {
        "AWS_DEFAULT_REGION": "us-east-1",
        # deploy leaves those of its stack in the environment, where later tests must not find them
        "CHURN_WAREHOUSE": "unused",
        "CHURN_SCHEMA": "unused",
    }
    config = {"stepfunctions": {"execute_state_machine": True}}
    with environment(variables), mock_aws(config=config):
        yield boto3.resource("s3")


def keys(bucket: Any) -> list[str]:
    return [each.key for each in bucket.objects.all()]


def stacks() -> dict[str, dict]:
    found = boto3.client("cloudformation").describe_stacks()["Stacks"]
    return {each["StackName"]: each for each in found}


def network() -> list[str]:
    """Options that ask for a cluster."""
    subnet = next(iter(boto3.resource("ec2").subnets.all()))
    return ["--vpc", subnet.vpc_id, "--subnet", subnet.id]


def execute(given: str) -> dict[str, str]:
    """Start the deployed state machine and wait for its end."""
    client = boto3.client("stepfunctions")
    [machine] = client.list_state_machines()["stateMachines"]
    started = client.start_execution(
        stateMachineArn=machine["stateMachineArn"], name=uuid.uuid4().hex, input=given
    )
    until = time.monotonic() + 60
    while time.monotonic() < until:
        ended = client.describe_execution(executionArn=started["executionArn"])
        if ended["status"] != "RUNNING":
            return ended
        time.sleep(0.05)
    raise AssertionError("the execution did not end")


def test_the_workflow_runs_its_steps_with_any_input(emr: Emr, moto: Any, jobs: "Jobs") -> None:
    emr("deploy").ok()
    [data, _] = sorted(bucket.name for bucket in moto.buckets.all())
    for given, steps in {
        "{}": WITHOUT_TRAINING,
        '{"train": false, "Comment": "by hand"}': WITHOUT_TRAINING,
        '{"train": true}': list(STEPS),
    }.items():
        jobs.started.clear()
        assert execute(given)["status"] == "SUCCEEDED", given
        assert jobs.steps == steps
        for job in jobs.started:
            submitted = job["jobDriver"]["sparkSubmit"]
            assert submitted["entryPoint"] == f"s3://{data}/code/job.py"
            assert submitted["entryPointArguments"] == [job["name"], "--home", f"s3://{data}"]

    jobs.started.clear()
    ended = execute('{"train": "yes"}')
    assert (ended["status"], ended["cause"]) == ("FAILED", "train must be true or false")
    assert jobs.started == []


@pytest.mark.usefixtures("moto")
def test_a_busy_service_is_asked_again_and_a_failed_job_is_not(emr: Emr, jobs: "Jobs") -> None:
    emr("deploy").ok()
    jobs.errors["score"] = [
        f"EMRServerless.{error}"
        for error in ("ThrottlingException", "InternalServerException", "ConflictException")
    ]
    assert execute("{}")["status"] == "SUCCEEDED"
    assert jobs.steps == ["build", *["score"] * 4, "report"]
    assert len(jobs.waits) == 3
    # by its token EMR knows an attempt that it has started already
    assert len({job["clientToken"] for job in jobs.started}) == 3

    for step, error, attempts in (
        ("train", "States.TaskFailed", 1),
        ("build", "EMRServerless.ValidationException", 1),
        ("report", "EMRServerless.ThrottlingException", 6),
    ):
        jobs.started.clear()
        jobs.errors[step] = [error] * 9
        ended = execute('{"train": true}')
        assert (ended["status"], ended["error"]) == ("FAILED", "StepFailed")
        assert ended["cause"].startswith(f"step {step} failed with ")
        assert error in ended["cause"] and "00f" in ended["cause"]
        before = list(STEPS)[: list(STEPS).index(step)]
        assert jobs.steps == [*before, *[step] * attempts]
        jobs.errors.clear()


@pytest.mark.usefixtures("moto")
def test_a_schedule_and_an_email_are_made_only_when_set(emr: Emr) -> None:
    rules = boto3.client("events").list_rules
    emr("deploy").ok()
    assert rules()["Rules"] == []
    set_both = ("--set", "Schedule=rate(1 day)", "--set", "FailureEmail=me@example.com")
    emr("deploy", "--name", "watched", *set_both).ok()
    [rule] = rules()["Rules"]
    pattern = json.loads(rule["EventPattern"])
    machines = boto3.client("stepfunctions").list_state_machines()["stateMachines"]
    [arn] = [each["stateMachineArn"] for each in machines if "watched" in each["name"]]
    assert pattern["detail"] == {
        "stateMachineArn": [arn],
        "status": ["FAILED", "TIMED_OUT", "ABORTED"],
    }
    # moto's stacks have no schedule
    assert template(TEMPLATES[1])["Resources"]["DailyRun"]["Condition"] == "HasSchedule"
    [schedule] = resources("AWS::Scheduler::Schedule").values()
    assert schedule["Target"]["Arn"] == {"Ref": "Workflow"}
    assert json.loads(schedule["Target"]["Input"]) == {"train": False}


@pytest.mark.usefixtures("moto")
def test_what_was_set_stays(emr: Emr) -> None:
    def values() -> list[str]:
        [stack] = stacks().values()
        of_stack = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
        return [of_stack[name] for name in ("Schema", "MaximumExecutors", "LogDays", "Schedule")]

    emr("deploy", "--schema", "lab", "--set", "MaximumExecutors=3").ok()
    emr("deploy", "--set", "LogDays=7").ok()
    assert values() == ["lab", "3", "7", ""]
    emr("deploy", "--set", "MaximumExecutors=8").ok()
    assert values() == ["lab", "8", "7", ""]


@pytest.mark.usefixtures("moto")
def test_a_step_that_fails_on_the_cluster_is_named(
    emr: Emr, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "aws ssm start-session --target i-0c0ffee " in emr("deploy", *network()).ok().output
    add = pkgutil.resolve_name(f"{CLUSTERS}.add_job_flow_steps")

    def add_ended(*given: Any) -> list[Any]:
        added = add(*given)
        for step in added:
            step.state = "FAILED" if step.name == "score" else "COMPLETED"
        return added

    monkeypatch.setattr(f"{CLUSTERS}.add_job_flow_steps", add_ended)
    emr("run", "--cluster").failed(r"Stopped: step score \(s-\w+\): FAILED")


def test_stacks_and_buckets_come_and_go(emr: Emr, moto: Any, jobs: "Jobs") -> None:
    code = [f"code/{name}" for name in ("churn.zip", "environment.tar.gz", "job.py", "spark.conf")]
    emr("deploy").ok()
    emr("deploy").ok()  # changes it
    data, logs = sorted(moto.buckets.all(), key=lambda bucket: bucket.name)
    assert keys(data) == code and keys(logs) == []
    settings = data.Object("code/spark.conf").get()["Body"].read().decode()
    assert f"spark.sql.catalog.lake.warehouse s3://{data.name}/warehouse\n" in settings

    assert f"s3://{data.name}/report.html" in emr("run", "--raw", str(SAMPLE)).ok().output
    jobs.errors["score"] = ["States.TaskFailed"]
    emr("run", "--no-train").failed("Stopped: FAILED: step score failed with ")
    assert jobs.steps == [*STEPS, "build", "score"]
    landed = [f"raw/{path.name}" for path in sorted(SAMPLE.iterdir())]
    assert keys(data) == code + landed

    assert f"s3://{data.name}" in emr("destroy").ok().output
    assert [bucket.name for bucket in moto.buckets.all()] == [data.name]
    emr("destroy").failed("Stack with id churn does not exist")

    emr("deploy", *network()).ok()
    assert stacks().keys() == {"churn", "churn-cluster"}
    emr("destroy", "--with-data").ok()
    assert stacks() == {}
    assert [bucket.name for bucket in moto.buckets.all()] == [data.name]
    assert keys(data) == code + landed


@pytest.mark.usefixtures("moto")
def test_what_aws_refuses_is_said_in_its_words(emr: Emr, monkeypatch: pytest.MonkeyPatch) -> None:
    emr("deploy").ok()
    monkeypatch.setattr(_Aws, "bucket", "of-nobody")
    emr("run", "--raw", str(SAMPLE)).failed("Stopped: .*The specified bucket does not exist")


def test_why_a_stack_failed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(StackName: str) -> None:
        raise WaiterError("StackCreateComplete", "we matched DELETE_COMPLETE", {})

    ends = {"Staging": "CREATE_FAILED", "Marts": "CREATE_FAILED", "DataBucket": "CREATE_COMPLETE"}
    events = [{"LogicalResourceId": key, "ResourceStatus": end} for key, end in ends.items()]
    events[1]["ResourceStatusReason"] = "Database already exists."
    client = SimpleNamespace(
        get_waiter=lambda name: SimpleNamespace(wait=fail),
        describe_stack_events=lambda StackName: {"StackEvents": events},
    )
    monkeypatch.setattr(_Aws, "client", lambda aws, service: client)
    aws = _Aws("churn", None)
    with pytest.raises(deploy.DeployError, match=r"^Marts: Database already exists\.$"):
        aws._wait_for_stack("stack_create_complete", "churn")


def test_make_targets_have_a_dry_run() -> None:
    for target in ("emr-deploy", "emr-run", "emr-destroy"):
        made = run_process(shutil.which("make") or "make", "--dry-run", target, "ARGS=--dry-run")
        command = target.removeprefix("emr-")
        assert f"python -m deploy.emr {command} --dry-run" in made.output


def test_views_are_in_the_named_catalog_and_tables_in_the_default_one(tmp_path: Path) -> None:
    command = Project("unused", tmp_path, tmp_path).command("parse", "--target", "emr")
    with (
        environment({"CHURN_WAREHOUSE": "s3://b/w", "CHURN_SCHEMA": "churn"}),
        working_directory(ROOT),
    ):
        assert dbtRunner().invoke(command).success
    manifest = json.loads((tmp_path / "target" / "manifest.json").read_text())
    for node in manifest["nodes"].values():
        if node["resource_type"] in ("model", "seed"):
            is_view = node["config"]["materialized"] == "view"
            assert node["schema"].startswith("spark_catalog.churn_") == is_view, node["name"]
            assert node["relation_name"] == f"{node['schema']}.{node['alias']}"
    names = {each["relation_name"] for each in manifest["sources"].values()}
    assert {"churn_ml.churn_scores", "spark_catalog.default.raw_events_churn"} <= names


def test_the_packed_project_has_what_a_job_reads(tmp_path: Path) -> None:
    names = zipfile.ZipFile(pack_project(tmp_path / "churn.zip")).namelist()
    assert {
        *("dbt_project.yml", "profiles.yml", "macros/lock.sql", "seeds/page_catalogue.csv"),
        *("ml/train.py", "warehouse/session.py", "report/page.html.j2"),
    } <= {*names}
    assert not [name for name in names if name.startswith(("tests/test_", "data/", ".venv"))]
