"""The project on Amazon EMR: `python -m deploy.emr deploy | run | destroy`."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from deploy.emr.job import STEPS
from deploy.emr.pack import ROOT, pack_packages, pack_project, project_files
from warehouse.commands import Program, folder_option
from warehouse.errors import ProjectError

FOLDER = ROOT / "deploy" / "emr"
TEMPLATE, CLUSTER_TEMPLATE = FOLDER / "template.yaml", FOLDER / "cluster.yaml"
TAGS = {"project": "churn_at_scale", "managed-by": "deploy/emr"}
POLL_SECONDS = 15
Step = Callable[[str, Callable[[], object]], None]


class DeployError(RuntimeError):
    """What AWS refused, or what went wrong there, in its own words."""


app = Program(
    "python -m deploy.emr",
    "The project on Amazon EMR: make its stack, run the workflow, take it down.",
    """Examples:
  python -m deploy.emr deploy --dry-run     what would be done; asks nobody
  python -m deploy.emr deploy               the stack, and the project in S3
  python -m deploy.emr run                  all steps of the workflow
  python -m deploy.emr destroy              all but the data bucket

Credentials and region are those of the AWS command line.

Exit status: 0 done, 1 not, 2 wrong usage.
""",
)
main = app.main

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")]
Name = Annotated[str, typer.Option(help="Of the stack.")]
Region = Annotated[str | None, typer.Option(show_default="that of the AWS command line")]


class _Template(yaml.SafeLoader):
    """YAML of CloudFormation, with its functions left out."""


_Template.add_multi_constructor("!", lambda *_: None)


def parameters(template: Path) -> dict[str, dict[str, Any]]:
    """The parameters of a template by their names; the ones to choose have a default."""
    return yaml.load(template.read_text(), _Template)["Parameters"]


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    found = parameters(TEMPLATE) | parameters(CLUSTER_TEMPLATE)
    known = sorted(each for each, fields in found.items() if "Default" in fields)
    if not equals or name not in known:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE of {', '.join(known)}")
    return name, value


@contextmanager
def _steps(command: str, aws: _Aws, dry_run: bool) -> Iterator[Step]:
    """Takes what a command does, one after the other, in words and as a call; a dry run prints it.

    Raises ProjectError, in the words of AWS, where a call fails.
    """
    if dry_run:
        print(f"{command} would, in {aws.region or 'the default region'}:")
    elif not importlib.util.find_spec("boto3"):
        raise ProjectError("Stopped: boto3 is not installed. Run `make setup`.")
    numbers = itertools.count(1)

    def step(says: str, do: Callable[[], object]) -> None:
        print(f"{next(numbers):2}. {says}", flush=True)
        if not dry_run:
            try:
                do()
            except _aws_errors() as error:
                raise ProjectError(f"Stopped: {error}") from error

    yield step
    if dry_run:
        print("Nothing was done: this was a dry run.")


# --- the three commands ---------------------------------------------------------------------------


@app.command(
    epilog="""Examples:
  python -m deploy.emr deploy --dry-run
  python -m deploy.emr deploy --set "Schedule=cron(0 4 * * ? *)" \\
      --set FailureEmail=me@example.com
  python -m deploy.emr deploy --vpc ID --subnet ID
"""
)
def deploy(
    schema: Annotated[
        str | None,
        typer.Option(help="What names of Glue databases begin with.", show_default="churn"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A parameter of template.yaml or cluster.yaml, such as Schedule, FailureEmail or "
            "MaximumCpu. It stays as it is until it is set again.",
        ),
    ] = None,
    vpc: Annotated[
        str | None, typer.Option(help="Also a cluster of EMR on EC2, in this network.")
    ] = None,
    subnet: Annotated[
        str | None, typer.Option(help="Private subnet of the cluster, with Thrift.")
    ] = None,
    dry_run: DryRun = False,
    name: Name = "churn",
    region: Region = None,
) -> None:
    """Make or change the stack, and put the packed project there."""
    if bool(vpc) != bool(subnet):
        raise typer.BadParameter("a cluster needs both --vpc and --subnet")
    chosen = dict(_setting(text) for text in settings or [])
    if schema:
        chosen["Schema"] = schema
    aws = _Aws(name, region)
    with _steps("deploy", aws, dry_run) as step:
        what = ", ".join(["", *(f"{key}={value}" for key, value in chosen.items())])
        tags = ", ".join(f"{key}={value}" for key, value in TAGS.items())
        step(
            f"make or change the stack {name} of {TEMPLATE.relative_to(ROOT)}{what}, tagged {tags}",
            lambda: aws.make_stack(name, TEMPLATE, chosen),
        )
        step(
            "pack the packages of deploy/emr/requirements.txt for Python 3.11 on Linux x86-64 and "
            "put them into the data bucket: code/environment.tar.gz",
            aws.upload_packages,
        )
        step(
            f"pack the project ({sum(1 for _ in project_files())} files) and put it there: "
            "code/churn.zip, code/job.py, code/spark.conf",
            aws.upload_project,
        )
        if vpc and subnet:
            network = {"Vpc": vpc, "Subnet": subnet}
            step(
                f"make or change the stack {name}-cluster of deploy/emr/cluster.yaml in {subnet} "
                f"of {vpc}; its machines cost until they are deleted",
                lambda: aws.make_cluster(network | chosen),
            )
            step("print how to reach its Thrift server", aws.print_connection)


@app.command(
    epilog="""Examples:
  python -m deploy.emr run --raw data/simulated    logs, then all steps
  python -m deploy.emr run --no-train              with the model of before
  python -m deploy.emr run --cluster
"""
)
def run(
    raw: Annotated[
        Path | None, folder_option("Folder of logs to put into the landing folder.")
    ] = None,
    no_train: Annotated[
        bool, typer.Option("--no-train", help="Score with the model of before.")
    ] = False,
    cluster: Annotated[bool, typer.Option("--cluster", help="As steps of the cluster.")] = False,
    dry_run: DryRun = False,
    name: Name = "churn",
    region: Region = None,
) -> None:
    """Run the workflow to its end."""
    aws = _Aws(name, region)
    steps = [each for each in STEPS if not (each == "train" and no_train)]
    with _steps("run", aws, dry_run) as step:
        if raw:
            step(
                f"copy {raw} to the landing folder raw/ of the data bucket",
                lambda: aws.upload_folder(raw, "raw"),
            )
        if cluster:
            does = f"add steps to the cluster of {name}-cluster and wait for them"
            step(f"{does}: {', '.join(steps)}", lambda: aws.run_on_cluster(steps))
        else:
            does = f"start the state machine of {name} and wait for its jobs"
            step(f"{does}: {', '.join(steps)}", lambda: aws.run_workflow(not no_train))
        step("name where the report is", lambda: print(f"    s3://{aws.bucket}/report.html"))


@app.command(
    epilog="""Examples:
  python -m deploy.emr destroy
  python -m deploy.emr destroy --with-data
"""
)
def destroy(
    with_data: Annotated[
        bool, typer.Option("--with-data", help="And the bucket with the tables.")
    ] = False,
    dry_run: DryRun = False,
    name: Name = "churn",
    region: Region = None,
) -> None:
    """Delete the stack, all but the data bucket."""
    aws = _Aws(name, region)
    with _steps("destroy", aws, dry_run) as step:
        # first the cluster, which uses the other stack
        step(
            f"delete the stack {name}-cluster, if there is one, and its machines with it",
            lambda: aws.delete_stack(f"{name}-cluster"),
        )
        step("empty the bucket of the logs", lambda: aws.empty(aws.outputs()["LogBucket"]))
        if with_data:
            step(
                "empty the data bucket, all versions: tables, models, logs in raw/",
                lambda: aws.empty(aws.bucket),
            )
        step(
            f"delete the stack {name}: application, workflow, roles, Glue databases",
            lambda: aws.delete_stack(name),
        )
        if with_data:
            step("delete the data bucket", aws.delete_bucket)
        else:
            step("leave the data bucket as it is", lambda: print(f"    s3://{aws.bucket}"))


# --- AWS ------------------------------------------------------------------------------------------


class _Aws:
    """Calls of AWS; nothing is asked before the first of them."""

    def __init__(self, name: str, region: str | None) -> None:
        self.name, self.region = name, region
        self._outputs: dict[str, dict[str, str]] = {}

    def client(self, service: str) -> Any:
        import boto3

        return boto3.client(service, region_name=self.region)

    def outputs(self, stack: str = "") -> dict[str, str]:
        """Outputs of a stack, asked once: they are still needed when it is gone."""
        stack = stack or self.name
        if stack not in self._outputs:
            found = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
            self._outputs[stack] = {
                each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])
            }
        return self._outputs[stack]

    @property
    def bucket(self) -> str:
        """The data bucket."""
        return self.outputs()["DataBucket"]

    def make_stack(self, name: str, template: Path, settings: dict[str, str]) -> None:
        """Create the stack or change it, and wait; a change keeps parameters set before."""
        from botocore.exceptions import ClientError

        client = self.client("cloudformation")
        known = parameters(template)

        def values(chosen: dict[str, str]) -> list[dict[str, str]]:
            return [
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in chosen.items()
                if key in known
            ]

        wanted = {
            "StackName": name,
            "TemplateBody": template.read_text(),
            "Capabilities": ["CAPABILITY_IAM"],
            "Tags": [{"Key": key, "Value": value} for key, value in TAGS.items()],
        }
        try:
            made = client.create_stack(**wanted, Parameters=values(settings), OnFailure="DELETE")
            self._wait_for_stack("stack_create_complete", made["StackId"])
        except client.exceptions.AlreadyExistsException:
            try:
                client.update_stack(**wanted, Parameters=values(self.set_before(name) | settings))
                self._wait_for_stack("stack_update_complete", name)
            except ClientError as error:
                if "No updates are to be performed" not in str(error):
                    raise

    def set_before(self, stack: str) -> dict[str, str]:
        """Parameters of a stack that differ from the defaults it was made with."""
        client = self.client("cloudformation")
        made_with = client.get_template_summary(StackName=stack)["Parameters"]
        defaults = {each["ParameterKey"]: each.get("DefaultValue") for each in made_with}
        found = client.describe_stacks(StackName=stack)["Stacks"][0].get("Parameters", [])
        values = {each["ParameterKey"]: each["ParameterValue"] for each in found}
        return {key: value for key, value in values.items() if value != defaults[key]}

    def make_cluster(self, settings: dict[str, str]) -> None:
        """The stack of the cluster, with what it needs of the other one."""
        shared = {key: self.outputs()[key] for key in ("DataBucket", "LogBucket", "DataAccess")}
        self.make_stack(f"{self.name}-cluster", CLUSTER_TEMPLATE, settings | shared)

    def print_connection(self) -> None:
        """The commands that lead to the Thrift server, to copy."""
        cluster = self.outputs(f"{self.name}-cluster")["Cluster"]
        [primary] = self.client("emr").list_instances(
            ClusterId=cluster, InstanceGroupTypes=["MASTER"], InstanceStates=["RUNNING"]
        )["Instances"]
        print(
            f"    aws ssm start-session --target {primary['Ec2InstanceId']} --document-name "
            "AWS-StartPortForwardingSession --parameters portNumber=10001,localPortNumber=10001\n"
            f"    CHURN_THRIFT_PORT=10001 CHURN_SCHEMA=spark_catalog.{self.outputs()['Schema']} "
            f"dbt build --target thrift --vars '{{raw_path: s3://{self.bucket}/raw}}' "
            "-s fct_user_days"
        )

    def delete_stack(self, name: str) -> None:
        """Delete a stack and wait; one that is not there is no error."""
        self.client("cloudformation").delete_stack(StackName=name)
        self._wait_for_stack("stack_delete_complete", name)

    def _wait_for_stack(self, waiter: str, stack: str) -> None:
        """Wait; raise DeployError with what AWS says of the resources that failed."""
        from botocore.exceptions import WaiterError

        client = self.client("cloudformation")
        try:
            client.get_waiter(waiter).wait(StackName=stack)
        except WaiterError as error:
            events = client.describe_stack_events(StackName=stack)["StackEvents"]
            failed = [
                f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
                for event in reversed(events)
                if event["ResourceStatus"].endswith("_FAILED") and "ResourceStatusReason" in event
            ]
            raise DeployError("; ".join(failed) or str(error)) from error

    def upload_packages(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            archive = pack_packages(Path(scratch, "environment.tar.gz"), Path(scratch, "packages"))
            self._upload(archive, "code/environment.tar.gz")

    def upload_project(self) -> None:
        """The project, the script of a step, and the settings of the target for a Thrift server."""
        from warehouse.session import load_target

        os.environ |= {
            "CHURN_WAREHOUSE": f"s3://{self.bucket}/warehouse",
            "CHURN_SCHEMA": self.outputs()["Schema"],
        }
        settings = load_target("emr", ROOT).settings
        with tempfile.TemporaryDirectory() as scratch:
            self._upload(pack_project(Path(scratch, "churn.zip")), "code/churn.zip")
            self._upload(FOLDER / "job.py", "code/job.py")
            written = Path(scratch, "spark.conf")
            written.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
            self._upload(written, "code/spark.conf")

    def upload_folder(self, folder: Path, prefix: str) -> None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self._upload(path, f"{prefix}/{path.relative_to(folder)}")

    def _upload(self, path: Path, key: str) -> None:
        self.client("s3").upload_file(str(path), self.bucket, key)

    def empty(self, bucket: str) -> None:
        """Delete all versions of all objects."""
        import boto3

        boto3.resource("s3", region_name=self.region).Bucket(bucket).object_versions.delete()

    def delete_bucket(self) -> None:
        self.client("s3").delete_bucket(Bucket=self.bucket)

    def run_workflow(self, train: bool) -> None:
        """Start an execution and wait; raise DeployError, with its reason, where it fails."""
        client = self.client("stepfunctions")
        execution = client.start_execution(
            stateMachineArn=self.outputs()["Workflow"],
            name=f"emr-run-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
            input=json.dumps({"train": train}),
        )["executionArn"]
        print(f"    {execution}", flush=True)
        while (found := client.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(POLL_SECONDS)
        if found["status"] != "SUCCEEDED":
            raise DeployError(f"{found['status']}: {found.get('cause', found.get('error', ''))}")

    def run_on_cluster(self, steps: list[str]) -> None:
        """Add the steps and wait; a DeployError names the first that fails, which ends the rest."""
        client = self.client("emr")
        cluster = self.outputs(f"{self.name}-cluster")["Cluster"]
        added = client.add_job_flow_steps(
            JobFlowId=cluster,
            Steps=[cluster_step(name, self.bucket, self.outputs()["Schema"]) for name in steps],
        )
        for name, step in zip(steps, added["StepIds"], strict=True):
            self._wait_for_step(name, ClusterId=cluster, StepId=step)

    def _wait_for_step(self, name: str, **step: str) -> None:
        from botocore.exceptions import WaiterError

        waiting = {"Delay": POLL_SECONDS, "MaxAttempts": 24 * 3600 // POLL_SECONDS}
        try:
            self.client("emr").get_waiter("step_complete").wait(**step, WaiterConfig=waiting)
        except WaiterError as error:
            status = error.last_response.get("Step", {}).get("Status", {})
            said = f"{status.get('State', error)} {status.get('FailureDetails', '')}"
            raise DeployError(f"step {name} ({step['StepId']}): {said}") from error


def cluster_step(step: str, bucket: str, schema: str) -> dict:
    """A step of EMR on EC2 that runs job.py in a driver on YARN."""
    home = f"s3://{bucket}"
    settings = {
        "spark.yarn.appMasterEnv.CHURN_SCHEMA": schema,
        "spark.yarn.appMasterEnv.CHURN_WAREHOUSE": f"{home}/warehouse",
        "spark.yarn.appMasterEnv.PYSPARK_PYTHON": "python3.11",
        "spark.executorEnv.PYSPARK_PYTHON": "python3.11",
        "spark.executorEnv.PYTHONPATH": "./environment",
    }
    return {
        "Name": step,
        "ActionOnFailure": "CANCEL_AND_WAIT",
        "HadoopJarStep": {
            "Jar": "command-runner.jar",
            "Args": [
                *("spark-submit", "--deploy-mode", "cluster"),
                *("--py-files", f"{home}/code/churn.zip"),
                *("--archives", f"{home}/code/environment.tar.gz#environment"),
                *(part for item in settings.items() for part in ("--conf", "=".join(item))),
                *(f"{home}/code/job.py", step, "--home", home),
            ],
        },
    }


def _aws_errors() -> tuple[type[Exception], ...]:
    from subprocess import CalledProcessError

    from boto3.exceptions import Boto3Error  # a file that could not be put there
    from botocore.exceptions import BotoCoreError, ClientError

    return (Boto3Error, BotoCoreError, ClientError, CalledProcessError, DeployError, KeyError)


if __name__ == "__main__":
    sys.exit(main())
