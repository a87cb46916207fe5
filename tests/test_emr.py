"""EMR without AWS: what the templates allow, what the commands would do, where tables and views go.

tests/test_rehearsal.py runs the jobs.
"""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint.decode import decode_str
from moto import mock_aws

from deploy.emr.__main__ import STEPS, _Aws, cluster_step, main, step_arguments
from deploy.emr.job import build_tables
from deploy.emr.pack import pack_project
from tests.conftest import MakeProject
from tests.warehouse import (
    ROOT,
    SAMPLE,
    Project,
    active_spark,
    environment,
    run_process,
    working_directory,
)

in_moto = pytest.mark.filterwarnings("ignore:Tried to parse AWS::")  # what it leaves out
TEMPLATES = sorted((ROOT / "deploy" / "emr").glob("*.yaml"))


def template(path: Path) -> dict:
    """A template with its functions as dictionaries."""
    found, problems = decode_str(path.read_text())
    assert not problems
    return json.loads(json.dumps(found))


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
    texts = re.findall(
        r'"([^"]*)"', json.dumps([statement.get("Action"), statement.get("Resource")])
    )
    return [text for text in texts if "*" in text]


def says_why(text: str, lines: list[str]) -> bool:
    """Whether each line with this text, or one above it and its like, says why."""
    found = [
        number for number, line in enumerate(lines) if f'"{text}"' in line or f" {text}" in line
    ]
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
            assert statement["Effect"] == "Deny" or text not in ("*", "s3:*")


def test_a_wildcard_without_a_reason_is_found() -> None:
    allowed = {"Effect": "Allow", "Action": ["s3:Get*"], "Resource": {"Fn::Sub": "${Bucket}/*"}}
    assert wildcards(allowed) == ["s3:Get*", "${Bucket}/*"]
    assert not says_why("s3:Get*", ['Action: ["s3:Get*"]'])
    assert not says_why("${Bucket}/*", ["# why", 'Resource: "${Bucket}/*"'])
    assert says_why("${Bucket}/*", ["# wildcard: so", 'Resource: "${Bucket}/*"'])


def test_buckets_are_encrypted_private_and_of_tls_only() -> None:
    buckets, policies = resources("AWS::S3::Bucket"), resources("AWS::S3::BucketPolicy")
    assert set(buckets) == {"DataBucket", "LogBucket"}
    for name, bucket in buckets.items():
        [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        assert bucket["LifecycleConfiguration"]["Rules"]
        [policy] = [each for each in policies.values() if each["Bucket"] == {"Ref": name}]
        [statement] = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Condition"]) == (
            "Deny",
            {"Bool": {"aws:SecureTransport": "false"}},
        )


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


def test_workflow_and_cluster_run_the_same_steps() -> None:
    [workflow] = resources("AWS::StepFunctions::StateMachine").values()
    tasks = [each for each in workflow["Definition"]["States"].values() if each["Type"] == "Task"]
    by_name = {
        task["Parameters"]["Name"]: task["Parameters"]["JobDriver"]["SparkSubmit"] for task in tasks
    }
    assert tuple(by_name) == STEPS
    for name, job in by_name.items():
        assert job["EntryPoint"] == "${Home}/code/job.py"
        assert job["EntryPointArguments"] == step_arguments(name, "${Home}")
        arguments = cluster_step(name, "bucket", "churn")["HadoopJarStep"]["Args"]
        at = arguments.index("s3://bucket/code/job.py")
        assert arguments[at + 1 :] == step_arguments(name, "s3://bucket")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["deploy"], ["stack churn of deploy/emr/template.yaml", "code/churn.zip"]),
        (["deploy", "--vpc", "vpc-1", "--subnet", "subnet-1"], ["stack churn-cluster"]),
        (["run", "--raw", "logs"], ["copy logs", "build, train, score, list, report"]),
        (
            ["run", "--no-train", "--cluster"],
            ["steps to the cluster", "build, score, list, report"],
        ),
        (["destroy"], ["delete the stack churn:", "leave the data bucket"]),
        (["destroy", "--with-data"], ["all versions", "delete the data bucket"]),
    ],
    ids=" ".join,
)
def test_a_dry_run_says_what_it_would_do_and_asks_nobody(
    command: list[str],
    says: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in ("boto3", "botocore"):
        monkeypatch.setitem(sys.modules, module, None)  # an import of it fails
    assert main([*command, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in says), printed
    assert "Nothing was done" in printed


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """AWS by moto, in this process, with a group of logs for EMR Serverless, which it lacks."""
    make_stack = _Aws.make_stack

    def make_what_moto_knows(aws: _Aws, name: str, path: Path, parameters: dict) -> None:
        found = template(path)
        if "Application" in found["Resources"]:
            found["Resources"]["Application"] = {"Type": "AWS::Logs::LogGroup"}
        found["Outputs"].pop("PrimaryNode", None)  # moto's clusters have none
        known = tmp_path / path.name
        known.write_text(json.dumps(found))
        make_stack(aws, name, known, parameters)

    def pack_nothing(archive: Path, folder: Path) -> Path:
        archive.touch()
        return archive

    monkeypatch.setattr(_Aws, "make_stack", make_what_moto_knows)
    monkeypatch.setattr("deploy.emr.__main__.pack_packages", pack_nothing)
    variables = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "SF_EXECUTION_HISTORY_TYPE": "FAILURE",  # else moto's run for ever
        # deploy leaves those of its stack in the environment, where later tests must not find them
        "CHURN_WAREHOUSE": "unused",
        "CHURN_SCHEMA": "unused",
    }
    with environment(variables), mock_aws():
        yield boto3.resource("s3")


def keys(bucket: Any) -> list[str]:
    return [each.key for each in bucket.objects.all()]


def stacks() -> set[str]:
    return {
        each["StackName"] for each in boto3.client("cloudformation").describe_stacks()["Stacks"]
    }


@in_moto
def test_stacks_and_buckets_come_and_go(moto: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code = [f"code/{name}" for name in ("churn.zip", "environment.tar.gz", "job.py", "spark.conf")]
    assert main(["deploy"]) == 0
    assert main(["deploy"]) == 0  # changes it
    data, logs = sorted(moto.buckets.all(), key=lambda bucket: bucket.name)
    assert keys(data) == code and keys(logs) == []
    settings = data.Object("code/spark.conf").get()["Body"].read().decode()
    assert f"spark.sql.catalog.lake.warehouse s3://{data.name}/warehouse\n" in settings

    assert main(["run", "--raw", str(SAMPLE)]) == 1
    assert "Stopped: FAILED" in capsys.readouterr().err
    landed = [f"raw/{path.name}" for path in sorted(SAMPLE.iterdir())]
    assert keys(data) == code + landed

    assert main(["destroy"]) == 0
    assert f"s3://{data.name}" in capsys.readouterr().out
    assert [bucket.name for bucket in moto.buckets.all()] == [data.name]
    assert main(["destroy"]) == 1  # there is none
    assert "Stack with id churn does not exist" in capsys.readouterr().err

    network = next(iter(boto3.resource("ec2").subnets.all()))
    assert main(["deploy", "--vpc", network.vpc_id, "--subnet", network.id]) == 0
    assert stacks() == {"churn", "churn-cluster"}
    assert main(["destroy", "--with-data"]) == 0
    assert stacks() == set()
    assert [bucket.name for bucket in moto.buckets.all()] == [data.name]
    assert keys(data) == code + landed


@in_moto
def test_what_aws_refuses_is_said_in_its_words(
    moto: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["deploy"]) == 0
    monkeypatch.setattr(_Aws, "bucket", "of-nobody")
    assert main(["run", "--raw", str(SAMPLE)]) == 1
    assert re.search("Stopped: .*The specified bucket does not exist", capsys.readouterr().err)


def test_make_targets_have_a_dry_run() -> None:
    for target in ("emr-deploy", "emr-run", "emr-destroy"):
        made = subprocess.run(
            ["make", "--dry-run", target, "ARGS=--dry-run"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        command = target.removeprefix("emr-")
        assert f"python -m deploy.emr {command} --dry-run" in made.stdout, made.stderr


def test_views_are_in_the_named_catalog_and_tables_in_the_default_one(tmp_path: Path) -> None:
    project = Project("unused", tmp_path, tmp_path)
    parsed = run_process(
        *("dbt", *project.command("parse", "--target", "emr")),
        CHURN_WAREHOUSE="s3://b/w",
        CHURN_SCHEMA="churn",
    )
    parsed.ok()
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
    for part in ("dbt_project.yml", "profiles.yml", "macros/lock.sql", "ml/train.py"):
        assert part in names
    assert "report/page.html.j2" in names and "seeds/page_catalogue.csv" in names
    assert not [name for name in names if name.startswith(("tests/test_", "warehouse", ".venv"))]


def test_a_build_that_is_not_published_fails_the_step(
    make_project: MakeProject, capfd: pytest.CaptureFixture[str]
) -> None:
    project = make_project("emr_job", raw=SAMPLE)
    settings = {name: str(project.folder) for name in ("DBT_TARGET_PATH", "DBT_LOG_PATH")}
    # models without their tests
    settings |= {"DBT_INDIRECT_SELECTION": "empty", "CHURN_SCHEMA": project.schema}
    active_spark()
    with environment(settings), working_directory(ROOT):
        status = build_tables(str(SAMPLE), ["+churn_calendar"])
    printed = capfd.readouterr().out
    assert "Not published: this build left out" in printed
    assert "Completed successfully" in printed  # says dbt
    assert status == 1
    assert project.published() == {}
