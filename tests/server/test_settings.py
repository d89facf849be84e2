from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import platformdirs
import pytest

from tunesmith_core.space.ranges import Categorical, Continuous, Integer, Scaling
from tunesmith_server.address_settings import DEFAULT_GRPC
from tunesmith_server.bucket_settings import endpoint_fault
from tunesmith_server.domain.instance_types import InstanceProfile
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import MetricDefinition, Quotas, Site
from tunesmith_server.engine.fleet import FleetSettings
from tunesmith_server.settings import SettingsError, load_settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "tunesmith.toml"


def problems(config: Path, text: str) -> list[str]:
    """Give what is wrong with a file, each line without the file's name."""
    config.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as refusal:
        load_settings(config)
    assert str(refusal.value) == "\n".join(refusal.value.problems)
    assert all(each.startswith(f"{config}: ") for each in refusal.value.problems)
    assert not any("\n" in each for each in refusal.value.problems)
    return [each.removeprefix(f"{config}: ") for each in refusal.value.problems]


def test_with_no_file_everything_has_a_default() -> None:
    settings = load_settings()
    assert settings.grpc == DEFAULT_GRPC
    assert settings.data_dir == Path(platformdirs.user_data_dir("tunesmith", appauthor=False))
    assert settings.runner
    assert settings.runner_slots is None
    assert settings.account == Account()
    assert settings.site == Site()
    assert settings.fleet == FleetSettings()
    assert settings.stop_grace == timedelta(seconds=120)
    assert settings.compute_workers == min(2, os.cpu_count() or 1)
    assert settings.compute_device == "auto"
    assert settings.compute_memory_bytes == 8 * 2**30


def test_an_empty_file_says_no_more_than_none(config: Path) -> None:
    config.write_text("", encoding="utf-8")
    assert load_settings(config) == load_settings()


WHOLE = """
[server]
grpc = "localhost:0"
data_dir = "data"
runner = false
allow_inline_commands = false
file_roots = ["shared/../data", "/srv/data/"]
compute_workers = 2
compute_device = "gpu:1"
compute_memory_gib = 1.5
[account]
region = "lab-1"
account_id = "123456789012"
[limits]
max_training_jobs = 100
max_parallel_training_jobs = 8
[quotas]
tuning_jobs = 20
parallel_training_jobs = 64
[runners]
lease_s = 30
heartbeat_s = 0.5
stop_grace_s = 0
slots = 3
[algorithms.mnist]
command = ["python3", "./train.py", "--out=./x"]
environment = { OMP_NUM_THREADS = "1" }
environment_names = ["MODE", "LEARNING_*"]
metric_definitions = [{ name = "loss", regex = 'loss=(\\S+)' }]
[[algorithms.mnist.hyperparameters]]
name = "layers"
type = "Integer"
min = 1
max = 9
scaling = "Logarithmic"
[[algorithms.mnist.hyperparameters]]
name = "momentum"
type = "Continuous"
min = 0.5
max = 1
[[algorithms.mnist.hyperparameters]]
name = "optimizer"
type = "Categorical"
values = ["sgd", "adam"]
[[algorithms.mnist.hyperparameters]]
name = "image_size"
type = "Integer"
min = 8
max = 8
tunable = false
[[algorithms.mnist.hyperparameters]]
name = "comment"
type = "FreeText"
[images.sklearn]
python = "./venv/bin/python"

[buckets."lab.data"]
path = "bucket"

[buckets.srv]
path = "/srv/b"

[buckets.far]
region = "eu-west-1"
profile = "lab"

[s3]
endpoint_url = "http://127.0.0.1:9000"

[images."registry.example/mnist:1"]
algorithm = "mnist"
[instance_types."lab.half"]
vcpus = 8
memory_gib = 1.5
gpus = 2
"""


def test_every_setting_arrives_where_it_is_used(config: Path) -> None:
    config.write_text(WHOLE, encoding="utf-8")
    settings = load_settings(config)
    assert settings.grpc == "localhost:0"
    assert settings.data_dir == config.parent / "data"
    assert not settings.runner
    assert settings.runner_slots == 3
    assert settings.account == Account(region="lab-1", account_id="123456789012")
    assert settings.fleet == FleetSettings(
        lease=timedelta(seconds=30), heartbeat=timedelta(seconds=0.5)
    )
    assert settings.stop_grace == timedelta()
    assert settings.compute_workers == 2
    assert settings.compute_device == "gpu:1"
    assert settings.compute_memory_bytes == 3 * 2**29
    site = settings.site
    assert not site.allow_inline_commands
    assert site.file_roots == (str(config.parent / "data"), "/srv/data")
    assert (site.max_training_jobs, site.max_parallel_training_jobs) == (100, 8)
    assert site.quotas == Quotas(tuning_jobs=20, parallel_training_jobs=64)
    algorithm = site.algorithms["mnist"]
    assert algorithm.name == "mnist"
    assert algorithm.command == ("python3", str(config.parent / "train.py"), "--out=./x")
    assert algorithm.environment == {"OMP_NUM_THREADS": "1"}
    assert algorithm.environment_names == ("MODE", "LEARNING_*")
    assert algorithm.metric_definitions == (MetricDefinition(name="loss", regex=r"loss=(\S+)"),)
    assert algorithm.hyperparameters == {
        "layers": Integer(name="layers", lo=1, hi=9, scaling=Scaling.LOGARITHMIC),
        "momentum": Continuous(name="momentum", lo=0.5, hi=1.0),
        "optimizer": Categorical(name="optimizer", values=("sgd", "adam")),
        "image_size": None,
        "comment": None,
    }
    assert settings.buckets == {"lab.data": config.parent / "bucket", "srv": Path("/srv/b")}
    assert settings.s3 == {
        "far": {"region": "eu-west-1", "profile": "lab"},
        "*": {"endpoint_url": "http://127.0.0.1:9000"},
    }
    assert site.pythons == {"sklearn": str(config.parent / "venv/bin/python")}
    assert site.images == {"registry.example/mnist:1": "mnist"}
    half = InstanceProfile(vcpus=8, memory_bytes=3 * 2**29, gpus=2)
    assert site.instance_types == {"lab.half": half}


def test_no_bucket_is_reached_over_the_network_unless_the_site_says_so(config: Path) -> None:
    assert load_settings().s3 == {}
    config.write_text("[s3]\n", encoding="utf-8")
    assert load_settings(config).s3 == {"*": {}}


@pytest.mark.parametrize(
    "url",
    ["ftp://h:1", "http://", "http://h:0", "http://h:99999", "http://h/?a", "http://h/#a",
     "http://a b", "http://h,region=x", "http://[::1", "", "http://h:1\n"],
)  # fmt: skip
def test_where_no_s3_can_be_is_refused(url: str) -> None:
    assert endpoint_fault(url) is not None


@pytest.mark.parametrize("url", ["https://s3.lab", "http://127.0.0.1:9000/", "http://[::1]:9000/a"])
def test_where_an_s3_can_be_is_taken(url: str) -> None:
    assert endpoint_fault(url) is None


def test_the_command_line_goes_first(config: Path, tmp_path: Path) -> None:
    config.write_text('[server]\ngrpc = "[::1]:9"\ndata_dir = "data"\n', encoding="utf-8")
    settings = load_settings(config, data_dir=tmp_path / "other", grpc="127.0.0.2:8", runner=False)
    assert settings.grpc == "127.0.0.2:8"
    assert settings.data_dir == tmp_path / "other"
    assert not settings.runner


def test_the_command_line_cannot_turn_the_runner_on_again(config: Path) -> None:
    config.write_text("[server]\nrunner = false\n", encoding="utf-8")
    assert not load_settings(config, runner=True).runner


WRONG = {
    "[server]\ngprc = '127.0.0.1:1'": "unknown setting server.gprc; did you mean grpc?",
    "[sever]": "unknown setting sever; did you mean server?",
    "[runners]\nq = 1": (
        "unknown setting runners.q; there are lease_s, heartbeat_s, stop_grace_s, slots"
    ),
    "server = 1": "server is 1; write a table",
    "algorithms = ['a']": "algorithms is a list; write a table",
    "[algorithms]\na = 'x'": 'algorithms.a is "x"; write a table',
    "[server]\nrunner = 'yes'": 'server.runner is "yes"; write true or false',
    "[server]\nrunner = 1": "server.runner is 1; write true or false",
    "[server]\ngrpc = 7070": "server.grpc is 7070; write a text, in quotes",
    "[server]\ndata_dir = true": "server.data_dir is true; write a text, in quotes",
    "[server]\ncompute_workers = 0": "server.compute_workers is 0; write a number from 1",
    '[server]\ncompute_device = "cuda"': 'server.compute_device is "cuda"; write auto, cpu, gpu or gpu:NUMBER',
    "[server]\ncompute_memory_gib = 0": "server.compute_memory_gib is 0; write a number above 0",
    "[server]\ncompute_workers = 257": "server.compute_workers is 257; write a number up to 256",
    '[server]\ndata_dir = "a\\u0000"': (
        'server.data_dir is "a\\u0000"; leave out U+0000, which no program or path can be given'
    ),
    "[runners]\nslots = '4'": 'runners.slots is "4"; write a whole number',
    "[runners]\nslots = 4.0": "runners.slots is 4.0; write a whole number",
    "[runners]\nslots = true": "runners.slots is true; write a whole number",
    "[runners]\nslots = 0": "runners.slots is 0; write a number from 1",
    "[runners]\nlease_s = '60'": 'runners.lease_s is "60"; write a number',
    "[runners]\nlease_s = 0": "runners.lease_s is 0; write a number above 0",
    "[runners]\nlease_s = nan": "runners.lease_s is nan; write a number up to 31536000",
    "[runners]\nheartbeat_s = inf": "runners.heartbeat_s is inf; write a number up to 31536000",
    "[runners]\nstop_grace_s = -1": "runners.stop_grace_s is -1; write a number from 0",
    "[runners]\nlease_s = 1979-05-27": "runners.lease_s is 1979-05-27; write a number",
    "[limits]\nmax_training_jobs = 0": "limits.max_training_jobs is 0; write a number from 1",
    "[limits]\nmax_parallel_training_jobs = 3000000000": (
        "limits.max_parallel_training_jobs is 3000000000; write a number up to 2147483647"
    ),
    "[account]\nregion = 'EU'": ('account.region is "EU"; write small letters, digits and hyphens'),
    "[account]\naccount_id = '12'": 'account.account_id is "12"; write 12 digits',
    "[account]\naccount_id = 123456789012": (
        "account.account_id is 123456789012; write a text, in quotes"
    ),
    "[algorithms.a]": "algorithms.a.command is missing",
    "[algorithms.a]\ncommand = 'python'": (
        'algorithms.a.command is "python"; write a list, in square brackets'
    ),
    "[algorithms.a]\ncommand = []": "algorithms.a.command is empty; give it at least one word",
    "[algorithms.a]\ncommand = ['python', 3]": (
        "algorithms.a.command[1] is 3; write a text, in quotes"
    ),
    "[algorithms.a]\ncommand = ['x']\nenvironment = { N = 1 }": (
        "algorithms.a.environment.N is 1; write a text, in quotes"
    ),
    "[algorithms.a]\ncommand = ['x']\nenvironment = { 'A=B' = '' }": (
        'algorithms.a.environment."A=B" has a name that it cannot have; a variable has a name, '
        "without ="
    ),
    "[instance_types.'a b']\nvcpus = 1\nmemory_gib = inf": (
        'instance_types."a b".memory_gib is inf; write a number up to 2147483647'
    ),
    "[buckets.A_b]\npath = 'x'": (
        "buckets.A_b has a name that it cannot have; a bucket's name has 3 to 63 small letters, "
        "digits and inner dots and hyphens"
    ),
    "[buckets.abc]": (
        "buckets.abc is a table; give it a path, its directory, or an endpoint_url, region or "
        "profile, by which it is reached over the network"
    ),
    "[buckets.abc]\npath = 'x'\nregion = 'r'\nprofile = 'p'": (
        "buckets.abc is a table; a bucket is a directory or reached over the network; leave out "
        "path, or region, profile"
    ),
    "[s3]\nregions = 'x'": "unknown setting s3.regions; did you mean region?",
    "[s3]\nregion = ''": 's3.region is ""; write a name on one line, without a comma',
    "[s3]\nprofile = 'a,b'": 's3.profile is "a,b"; write a name on one line, without a comma',
    "s3 = true": "s3 is true; write a table",
    "[s3]\nendpoint_url = 'minio:9000'": (
        's3.endpoint_url is "minio:9000"; write http:// or https://, a host and a port, such as '
        "http://127.0.0.1:9000"
    ),
    "[s3]\nendpoint_url = 'http://me:secret@minio:9000'": (
        "s3.endpoint_url is wrong; leave the credentials out; they are found where AWS's own "
        "tools find them"
    ),
    "[images.'a:1']": 'images."a:1" is empty; name its algorithm, or a python for scripts',
    "[images.'a:1']\npython = ''": 'images."a:1".python is ""; write at least 1 character',
    "[images.'a:1']\nalgorithm = 'zz'": (
        'images."a:1".algorithm is "zz"; name an algorithm of this file: it has none yet'
    ),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_setting_is_told_with_what_would_be_right(config: Path, text: str) -> None:
    assert problems(config, text) == [WRONG[text]]


def test_everything_wrong_is_told_at_once(config: Path) -> None:
    text = """
    [server]
    gprc = "127.0.0.1:1"
    runner = "yes"
    [limits]
    max_training_jobs = 0
    [algorithms.mnist]
    commandline = ["x"]
    [images.x]
    algorithm = "zz"
    """
    assert problems(config, text) == [
        'server.runner is "yes"; write true or false',
        "unknown setting server.gprc; did you mean grpc?",
        "limits.max_training_jobs is 0; write a number from 1",
        "algorithms.mnist.command is missing",
        "unknown setting algorithms.mnist.commandline; did you mean command?",
        'images.x.algorithm is "zz"; name an algorithm of this file: it has mnist',
    ]


def test_an_address_on_the_command_line_is_told_beside_what_the_file_has(config: Path) -> None:
    config.write_text("[server]\nrunner = 1\n", encoding="utf-8")
    with pytest.raises(SettingsError) as refusal:
        load_settings(config, grpc="::1")
    assert refusal.value.problems == (
        '--grpc is "::1"; write [::1]:7070',
        f"{config}: server.runner is 1; write true or false",
    )


def test_a_long_value_is_cut(config: Path) -> None:
    (told,) = problems(config, f"[account]\nregion = '{'X' * 10_000}'")
    assert len(told) < 200


@pytest.mark.parametrize(
    ("regex", "reason"),
    [("loss=(", "missing ): loss=("), ("(?=loss)", "invalid perl operator: (?=")],
)
def test_a_regex_that_re2_refuses_is_refused_in_its_words(
    config: Path, regex: str, reason: str
) -> None:
    (told,) = problems(
        config,
        "[algorithms.a]\ncommand = ['x']\n"
        f"metric_definitions = [{{ name = 'ok', regex = 'ok' }}, {{ name = 'm', regex = '{regex}' }}]",
    )
    assert told == (
        f'algorithms.a.metric_definitions[1].regex is "{regex}"; write it in the syntax of RE2, '
        f"which metrics are searched with: {reason}"
    )


def test_a_metric_is_bounded_as_in_a_request(config: Path) -> None:
    told = problems(
        config,
        "[algorithms.a]\ncommand = ['x']\n"
        f"metric_definitions = [{{ name = '', regex = '{'a' * 501}' }}]",
    )
    path = "algorithms.a.metric_definitions[0]"
    assert told[0] == f'{path}.name is ""; write at least 1 character'
    assert told[1].endswith('(501 characters)"; write at most 500 characters')


@pytest.mark.parametrize("name", ["my_name", "-a", "a-", "a" * 64, "", "a.b", "ä"])
def test_an_algorithm_has_a_name_that_a_request_can_give(config: Path, name: str) -> None:
    (told,) = problems(config, f"[algorithms.'{name}']\ncommand = ['x']\n")
    assert told.endswith(
        " has a name that it cannot have; an algorithm's name has 1 to 63 letters, digits and "
        "inner hyphens"
    )


def test_an_image_stands_for_an_algorithm_that_there_is(config: Path) -> None:
    text = "[algorithms.b]\ncommand = ['x']\n[algorithms.a]\ncommand = ['x']\n[images.x]\n"
    assert problems(config, f"{text}algorithm = 'zz'") == [
        'images.x.algorithm is "zz"; name an algorithm of this file: it has a, b'
    ]
    config.write_text(f"{text}algorithm = 'a'", encoding="utf-8")
    assert load_settings(config).site.images == {"x": "a"}


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:65535", "[::1]:7070", "127.1.2.3:1"])
def test_a_loopback_address_is_taken(address: str) -> None:
    assert load_settings(grpc=address).grpc == address


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("::1", "[::1]:7070"),
        ("::1:80", "[::1]:80"),
        ("[::1]", "[::1]:7070"),
        ("127.0.0.1", "127.0.0.1:7070"),
        ("localhost", "localhost:7070"),
        ("localhost:", "localhost:7070"),
        ("localhost:65536", "localhost:7070"),
        ("localhost:²", "localhost:7070"),
        ("[localhost]:1", "localhost:1"),
        ("7070", "HOST:PORT, such as 127.0.0.1:7070"),
        ("", "HOST:PORT, such as 127.0.0.1:7070"),
        ("http://localhost:1", "HOST:PORT, such as 127.0.0.1:7070"),
    ],
)
def test_a_malformed_address_is_told_with_the_one_that_was_meant(address: str, right: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(grpc=address)
    assert str(refusal.value) == f'--grpc is "{address}"; write {right}'


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "example.org:1", ":1", "10.0.0.1:1"])
def test_an_address_that_other_hosts_reach_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="loopback addresses only"):
        load_settings(grpc=address)


def test_a_file_that_is_not_there_is_named(config: Path) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(config)
    assert str(refusal.value) == f"{config}: No such file or directory"


@pytest.mark.parametrize("data", [b"[server", b"\xff\xfe", b"a = " + b"9" * 5000])
def test_a_file_that_is_no_toml_is_named(config: Path, data: bytes) -> None:
    config.write_bytes(data)
    with pytest.raises(SettingsError) as refusal:
        load_settings(config)
    assert str(refusal.value).startswith(f"{config} is not TOML: ")


@pytest.mark.parametrize(
    ("keys", "right"),
    [
        ('type = "Integer"\nmin = 1', "give min and max, which type Integer needs"),
        (
            'type = "Integer"\nmin = 1\nmax = 2.5',
            "give whole numbers as min and max of type Integer",
        ),
        (
            'type = "Continuous"\nmin = 2\nmax = 1',
            "min 2.0 is above max 1.0; min must be at most max",
        ),
        (
            'type = "Continuous"\nmin = 0\nmax = 1\nvalues = ["a"]',
            "leave out values, which type Continuous has not",
        ),
        ('type = "Categorical"', "give values, which type Categorical needs"),
        (
            'type = "Categorical"\nvalues = ["a"]\nmin = 1\nscaling = "Linear"',
            "leave out min and scaling, which type Categorical has not",
        ),
        ('type = "FreeText"\ntunable = true', "leave out tunable, which type FreeText has not"),
    ],
)
def test_a_hyperparameter_that_makes_no_range_is_told(config: Path, keys: str, right: str) -> None:
    table = '[algorithms.a]\ncommand = ["a"]\n[[algorithms.a.hyperparameters]]\nname = "n"\n'
    assert problems(config, table + keys) == [
        f"algorithms.a.hyperparameters[0] is a table; {right}"
    ]


def test_a_hyperparameter_is_registered_once_and_with_a_known_type(config: Path) -> None:
    table = '[[algorithms.a.hyperparameters]]\nname = "n"\n'
    algorithm = '[algorithms.a]\ncommand = ["a"]\n'
    twice = algorithm + (table + 'type = "FreeText"\n') * 2
    assert problems(config, twice) == [
        'algorithms.a.hyperparameters is a list; name each hyperparameter once: "n" is there twice'
    ]
    (told,) = problems(config, algorithm + table + 'type = "Text"\n')
    assert told.startswith('algorithms.a.hyperparameters[0].type is "Text"; write ')
    assert told.endswith("'Integer', 'Continuous', 'Categorical' or 'FreeText'")


KEYS = """
[access_keys.AKIDLAB]
secret_access_key = "a8Kd0/tunesmith+of-the-lab"
"""


def test_an_address_for_http_that_others_reach_needs_an_access_key(tmp_path: Path) -> None:
    config = tmp_path / "tunesmith.toml"
    config.write_text('[server]\nhttp = "192.0.2.1:7071"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"server\.http is .* no access key says who may call"):
        load_settings(config)
    with pytest.raises(SettingsError, match="--http is"):
        load_settings(http="[2001:db8::1]:0")
    config.write_text(f'[server]\nhttp = "192.0.2.1:7071"\n{KEYS}', encoding="utf-8")
    settings = load_settings(config)
    assert str(settings.http) == "192.0.2.1:7071"
    assert settings.access_keys == {"AKIDLAB": "a8Kd0/tunesmith+of-the-lab"}


def test_command_lines_of_requests_are_off_where_others_may_call(tmp_path: Path) -> None:
    config = tmp_path / "tunesmith.toml"
    config.write_text(KEYS, encoding="utf-8")
    assert load_settings(config).site.allow_inline_commands
    assert not load_settings(config, http="192.0.2.1:0").site.allow_inline_commands
    config.write_text(f"[server]\nallow_inline_commands = true\n{KEYS}", encoding="utf-8")
    assert load_settings(config, http="192.0.2.1:0").site.allow_inline_commands


def test_paths_of_requests_lead_nowhere_where_others_may_call(tmp_path: Path) -> None:
    config = tmp_path / "tunesmith.toml"
    config.write_text(KEYS, encoding="utf-8")
    assert load_settings(config).site.file_roots is None
    assert load_settings(config, http="192.0.2.1:0").site.file_roots == ()
    config.write_text(f'[server]\nfile_roots = ["/srv/data"]\n{KEYS}', encoding="utf-8")
    for http in ("192.0.2.1:0", "127.0.0.1:0"):
        assert load_settings(config, http=http).site.file_roots == ("/srv/data",)


@pytest.mark.parametrize("secret", ['"short"', '"with a space in the midst"', "987", '["listed"]'])
def test_a_wrong_secret_is_refused_and_not_shown(tmp_path: Path, secret: str) -> None:
    config = tmp_path / "tunesmith.toml"
    config.write_text(f"[access_keys.AKID]\nsecret_access_key = {secret}\n", encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load_settings(config)
    assert "access_keys.AKID.secret_access_key is wrong" in str(refused.value)
    assert secret.strip('"[]') not in str(refused.value).replace("AKID", "")


def test_a_secret_in_the_place_of_its_table_is_not_shown(tmp_path: Path) -> None:
    config = tmp_path / "tunesmith.toml"
    config.write_text('[access_keys]\nAKIDLAB = "a8Kd0/tunesmith+of-the-lab"\n', encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load_settings(config)
    assert "access_keys.AKIDLAB is wrong; write a table" in str(refused.value)
    assert "a8Kd0" not in str(refused.value)


def test_settings_that_are_logged_show_no_secret(tmp_path: Path) -> None:
    config = tmp_path / "tunesmith.toml"
    config.write_text(KEYS, encoding="utf-8")
    assert "of-the-lab" not in repr(load_settings(config))


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("nonsense", "HOST:PORT"),
        ("::1", "[::1]:7071"),
        (":7071", "write a host"),
        ("127.0.0.1", "127.0.0.1:7071"),
    ],
)
def test_a_wrong_address_for_http_is_refused_with_a_right_one(address: str, right: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(http=address)
    assert right in str(refused.value)
