"""SageMaker's training contract, file by file and variable by variable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.runner.conftest import Assigner
from tunesmith.runner import contract
from tunesmith.runner.environment import trial_environment
from tunesmith.runner.errors import TrialFailure
from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

HYPER_PARAMETERS = {
    "learning_rate": "0.001",
    "batch-size": "32",
    "optimizer": '"sgd"',
    "name": "plain text",
    "layers": "[64,32]",
    "bias": "true",
    "x": "1",
    "_tuning_objective_metric": "validation:loss",
    "sagemaker_region": '"eu-west-1"',
    "sagemaker_container_log_level": "30",
}


@pytest.fixture
def made(assignment: Assigner) -> pb.TrialAssignment:
    channel = definition_pb.Channel(
        channel_name="train",
        content_type="text/csv",
        data_source=source_pb.DataSource(
            s3_data_source=source_pb.S3DataSource(
                s3_data_type=source_pb.S3_DATA_TYPE_S3_PREFIX, s3_uri="file:///data"
            )
        ),
    )
    return assignment(
        hyper_parameters=HYPER_PARAMETERS,
        input_data_config=[
            channel,
            definition_pb.Channel(
                channel_name="eval", input_mode=definition_pb.TRAINING_INPUT_MODE_FILE
            ),
        ],
        instance_type="ml.m5.large",
        environment={"GREETING": "hello", "TRAINING_JOB_NAME": "forged"},
    )


@pytest.fixture
def tree(tmp_path: Path) -> contract.TrialTree:
    return contract.trial_tree(tmp_path, "job-001-0123abcd", 1)


def variables(
    made: pb.TrialAssignment, tree: contract.TrialTree, gpus: tuple[str, ...] = ()
) -> dict[str, str]:
    environment = trial_environment(
        made,
        tree,
        gpus=gpus,
        cpu_count=4,
        inherited={"PATH": "/bin", "SM_HPS": "of an outer trial", "HOME": "/home/me"},
    )
    assert environment.omitted == ()
    return environment.variables


def test_the_three_files_are_as_sagemaker_writes_them(
    made: pb.TrialAssignment, tree: contract.TrialTree
) -> None:
    contract.write_tree(tree, made)
    config = tree.ml / "input" / "config"
    assert json.loads((config / "hyperparameters.json").read_text()) == HYPER_PARAMETERS
    assert json.loads((config / "inputdataconfig.json").read_text()) == {
        "train": {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
            "ContentType": "text/csv",
        },
        "eval": {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        },
    }
    assert json.loads((config / "resourceconfig.json").read_text()) == {
        "current_host": "algo-1",
        "current_instance_type": "ml.m5.large",
        "current_group_name": "homogeneousCluster",
        "current_instance_group": "homogeneousCluster",
        "hosts": ["algo-1"],
        "instance_groups": [
            {
                "instance_group_name": "homogeneousCluster",
                "instance_type": "ml.m5.large",
                "hosts": ["algo-1"],
            }
        ],
        "network_interface_name": "eth0",
    }


def test_the_directories_are_there(made: pb.TrialAssignment, tree: contract.TrialTree) -> None:
    contract.write_tree(tree, made)
    for path in (
        "input/data/train",
        "input/data/eval",
        "model",
        "output/data",
        "code",
        "checkpoints",
    ):
        assert (tree.ml / path).is_dir()
    assert tree.root.parts[-3:] == ("trials", "job-001-0123abcd", "1")


def test_the_environment_is_exactly_the_contracts(
    made: pb.TrialAssignment, tree: contract.TrialTree
) -> None:
    ml = str(tree.ml)
    told = variables(made, tree, gpus=("2", "3"))
    training_env = json.loads(told.pop("SM_TRAINING_ENV"))
    resource_config = json.loads(told.pop("SM_RESOURCE_CONFIG"))
    input_data_config = json.loads(told.pop("SM_INPUT_DATA_CONFIG"))
    own = '"batch-size":32,"bias":true,"layers":[64,32],"learning_rate":0.001'
    assert told == {
        "PATH": "/bin",
        "HOME": "/home/me",
        "PYTHONUNBUFFERED": "1",
        "GREETING": "hello",
        "TRAINING_JOB_NAME": "job-001-0123abcd",
        "TRAINING_JOB_ARN": (
            "arn:aws:sagemaker:eu-west-1:123456789012:training-job/job-001-0123abcd"
        ),
        "AWS_REGION": "eu-west-1",
        "SAGEMAKER_BASE_DIR": ml,
        "CUDA_VISIBLE_DEVICES": "2,3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "SM_MODEL_DIR": f"{ml}/model",
        "SM_INPUT_DIR": f"{ml}/input",
        "SM_INPUT_CONFIG_DIR": f"{ml}/input/config",
        "SM_OUTPUT_DIR": f"{ml}/output",
        "SM_OUTPUT_DATA_DIR": f"{ml}/output/data",
        "SM_CHANNELS": '["eval","train"]',
        "SM_CHANNEL_TRAIN": f"{ml}/input/data/train",
        "SM_CHANNEL_EVAL": f"{ml}/input/data/eval",
        "SM_CURRENT_HOST": "algo-1",
        "SM_HOSTS": '["algo-1"]',
        "SM_NETWORK_INTERFACE_NAME": "eth0",
        "SM_NUM_CPUS": "4",
        "SM_NUM_GPUS": "2",
        "SM_NUM_NEURONS": "0",
        "SM_LOG_LEVEL": "30",
        "SM_HPS": f'{{{own},"name":"plain text","optimizer":"sgd","x":1}}',
        "SM_HP_LEARNING_RATE": "0.001",
        "SM_HP_BATCH-SIZE": "32",
        "SM_HP_OPTIMIZER": "sgd",
        "SM_HP_NAME": "plain text",
        "SM_HP_LAYERS": "[64,32]",
        "SM_HP_BIAS": "true",
        "SM_HP_X": "1",
        "SM_USER_ARGS": (
            '["--batch-size","32","--bias","True","--layers","[64, 32]","--learning_rate",'
            '"0.001","--name","plain text","--optimizer","sgd","-x","1"]'
        ),
    }
    assert resource_config == contract.resource_config(made)
    assert input_data_config == contract.input_data_config(made)
    assert training_env["hyperparameters"]["optimizer"] == "sgd"
    assert training_env["additional_framework_parameters"]["sagemaker_region"] == "eu-west-1"
    assert training_env["channel_input_dirs"]["train"] == f"{ml}/input/data/train"


def test_no_gpus_means_that_none_is_visible(
    made: pb.TrialAssignment, tree: contract.TrialTree
) -> None:
    assert variables(made, tree)["CUDA_VISIBLE_DEVICES"] == ""


def test_a_variable_that_the_system_cannot_carry_is_named(
    made: pb.TrialAssignment, tree: contract.TrialTree
) -> None:
    for number in range(100):
        made.hyper_parameters[f"p{number}"] = "v" * 2500
    made.hyper_parameters["a=b"] = "1"
    environment = trial_environment(made, tree, gpus=(), cpu_count=1, inherited={})
    assert environment.omitted == ("SM_HPS", "SM_HP_A=B", "SM_TRAINING_ENV", "SM_USER_ARGS")
    assert not set(environment.omitted) & set(environment.variables)
    assert environment.variables["SM_HP_P99"] == "v" * 2500


def test_the_runners_credentials_for_aws_are_no_trials(
    made: pb.TrialAssignment, tree: contract.TrialTree
) -> None:
    inherited = {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_BEARER_TOKEN_BEDROCK": "token",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "token",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "uri",
        "AWS_CONFIG_FILE": "file",
        "AWS_DEFAULT_PROFILE": "name",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000",
        "AWS_PROFILE": "name",
        "AWS_ROLE_ARN": "role",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SECURITY_TOKEN": "token",
        "AWS_SESSION_TOKEN": "token",
        "AWS_SHARED_CREDENTIALS_FILE": "file",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "file",
    }
    made.environment["AWS_PROFILE"] = "the request's own"
    environment = trial_environment(made, tree, gpus=(), cpu_count=1, inherited=inherited)
    found = {name: each for name, each in environment.variables.items() if name in inherited}
    assert found == {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000",
        "AWS_PROFILE": "the request's own",
    }


def test_a_nul_in_a_value_is_refused(made: pb.TrialAssignment, tree: contract.TrialTree) -> None:
    made.environment["BAD"] = "a\0b"
    with pytest.raises(TrialFailure, match="ClientError: the value of 'BAD' holds a NUL"):
        variables(made, tree)


@pytest.mark.parametrize("name", [".", "..", "a/b", "", "x" * 65])
def test_a_channel_whose_name_is_no_directory_is_refused(
    assignment: Assigner, tree: contract.TrialTree, name: str
) -> None:
    made = assignment(input_data_config=[definition_pb.Channel(channel_name=name)])
    with pytest.raises(TrialFailure, match="cannot be the name of a channel's directory"):
        contract.write_tree(tree, made)
    assert not tree.root.exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "a-", "a" * 64, "a\n"])
def test_a_name_that_is_no_training_jobs_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrialFailure, match="is no training job's name"):
        contract.trial_tree(tmp_path, name, 1)


def test_a_failure_file_is_read_as_text_and_not_too_much_of_it(
    made: pb.TrialAssignment, tree: contract.TrialTree
) -> None:
    contract.write_tree(tree, made)
    assert contract.failure_text(tree) == ""
    path = tree.output / "failure"
    path.write_bytes(b"bad \xff\n" + b"x" * 100_000)
    assert contract.failure_text(tree) == "bad \ufffd\n" + "x" * 1018
    path.unlink()
    path.mkdir()
    assert contract.failure_text(tree) == ""
