"""GPUs as NVML tells of them, or does not; NVML itself is played."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from tunesmith.runner import RunnerSettings, UnknownGpu, gpus
from tunesmith.runner.errors import TrialFailure
from tunesmith.runner.gpus import HostGpu
from tunesmith.runner.places import Places


def gpu(index: int) -> HostGpu:
    return HostGpu(
        device_id=str(index), uuid=f"GPU-{index}", product_name="H200", memory_bytes=1 << 37
    )


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Play a host: GPUs by UUID, each with its partitions."""
    host: dict[str, list[str]] = {}

    def partition(handle: str, place: int) -> str:
        if place >= len(host[handle]):
            raise pynvml.NVMLError_NotFound
        return host[handle][place]

    played: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(host),
        "nvmlDeviceGetHandleByIndex": lambda index: list(host)[index],
        "nvmlDeviceGetUUID": lambda handle: handle,
        "nvmlDeviceGetName": lambda _: "H200",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=1 << 37),
        "nvmlDeviceGetMigMode": lambda handle: (int(bool(host[handle])), 0),
        "nvmlDeviceGetMaxMigDeviceCount": lambda _: 7,
        "nvmlDeviceGetMigDeviceHandleByIndex": partition,
    }
    for name, function in played.items():
        monkeypatch.setattr(pynvml, name, function)
    return host


def test_gpus_are_called_by_index(nvml: dict[str, list[str]]) -> None:
    nvml.update({"GPU-0": [], "GPU-1": []})
    assert gpus.host_gpus() == [gpu(0), gpu(1)]


def test_partitions_are_called_by_uuid_and_replace_their_gpu(nvml: dict[str, list[str]]) -> None:
    nvml.update({"GPU-0": ["MIG-a", "MIG-b"], "GPU-1": []})
    assert [found.device_id for found in gpus.host_gpus()] == ["MIG-a", "MIG-b", "1"]


def test_trouble_with_nvml_means_no_gpus(
    nvml: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.update({"GPU-0": []})

    def fail(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", fail)
    assert gpus.host_gpus() == []
    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert gpus.host_gpus() == []


def test_a_host_without_nvml_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert gpus.host_gpus() == []


def test_gpus_are_chosen_by_index_or_uuid_in_the_order_wanted() -> None:
    found = [gpu(0), gpu(1), gpu(2)]
    assert gpus.choose_gpus(found, None) == found
    assert gpus.choose_gpus(found, []) == []
    assert gpus.choose_gpus(found, ["2", "GPU-0", "2"]) == [gpu(2), gpu(0)]


def test_a_gpu_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UnknownGpu, match="'7' is not on this host; there are: 0, GPU-0"):
        gpus.choose_gpus([gpu(0)], ["7"])
    with pytest.raises(UnknownGpu, match="there are: none"):
        gpus.choose_gpus([], ["0"])


def test_the_runners_own_environment_limits_it_unless_its_settings_speak() -> None:
    assert gpus.wanted_gpus(None, None) is None
    assert gpus.wanted_gpus(None, "0, 2") == ["0", "2"]
    assert gpus.wanted_gpus(None, "") == []
    assert gpus.wanted_gpus((), "0") == []
    assert gpus.wanted_gpus(("1",), "0") == ["1"]


def test_no_gpu_is_given_twice_and_all_come_back() -> None:
    places = Places(runner_name="r", slots=3, gpus=[gpu(0), gpu(1), gpu(2)])
    with places.taken(gpu_count=2) as first:
        assert first == ("0", "1")
        with places.taken(gpu_count=1) as second:
            assert second == ("2",)
        with (
            pytest.raises(TrialFailure, match="has 2 free slots and 1 free GPUs") as refused,
            places.taken(gpu_count=2),
        ):
            pass
        assert refused.value.retryable
    with places.taken(gpu_count=3) as third:
        assert third == ("0", "1", "2")


def test_no_slot_is_given_twice() -> None:
    places = Places(runner_name="r", slots=1, gpus=[])
    with (
        places.taken(gpu_count=0),
        pytest.raises(TrialFailure, match=r"InternalServerError: .* 0 free slots"),
        places.taken(gpu_count=0),
    ):
        pass


def test_settings_say_what_is_wrong_with_them(tmp_path: Any) -> None:
    good = {"server": "localhost:7070", "data_dir": tmp_path, "name": "r", "slots": 1}
    for member, value, message in (
        ("slots", 0, "slots is 0: a runner has at least 1"),
        ("name", "", "name has 0 characters"),
        ("server", "localhost", "server is 'localhost': it should be HOST:PORT"),
    ):
        with pytest.raises(ValueError, match=message):
            RunnerSettings(**{**good, member: value})
