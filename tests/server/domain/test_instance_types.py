from __future__ import annotations

import botocore.session
import pytest

from tunesmith_server.domain.instance_types import LOCAL, InstanceProfile, shipped_profiles

GIB = 2**30


def test_every_training_instance_type_of_sagemaker_has_a_profile() -> None:
    model = botocore.session.Session().get_service_model("sagemaker")
    names = set(model.shape_for("TrainingInstanceType").enum)
    assert len(names) > 200
    assert set(shipped_profiles()) == names | {LOCAL}


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_gib", "gpus"),
    [
        ("ml.m5.large", 2, 8, 0),
        ("ml.c5.18xlarge", 72, 144, 0),
        ("ml.c4.xlarge", 4, 7.5, 0),
        ("ml.r5d.24xlarge", 96, 768, 0),
        ("ml.t3.medium", 2, 4, 0),
        ("ml.m8i.96xlarge", 384, 1536, 0),
        ("ml.c7i-flex.16xlarge", 64, 128, 0),
        ("ml.p2.16xlarge", 64, 732, 16),
        ("ml.p3.2xlarge", 8, 61, 1),
        ("ml.p4d.24xlarge", 96, 1152, 8),
        ("ml.p5.4xlarge", 16, 256, 1),
        ("ml.g4dn.12xlarge", 48, 192, 4),
        ("ml.g5.16xlarge", 64, 256, 1),
        ("ml.g6e.48xlarge", 192, 1536, 8),
        ("ml.g7e.12xlarge", 48, 512, 2),
        ("ml.p6e-gb200.36xlarge", 144, 960, 4),
        ("ml.trn1.32xlarge", 128, 512, 0),
    ],
)
def test_a_profile_is_what_ec2_says(name: str, vcpus: int, memory_gib: float, gpus: int) -> None:
    assert shipped_profiles()[name] == InstanceProfile(
        vcpus=vcpus, memory_bytes=int(memory_gib * GIB), gpus=gpus
    )


def test_local_asks_for_no_gpu_and_a_share_of_the_rest() -> None:
    assert shipped_profiles()[LOCAL] == InstanceProfile(vcpus=None, memory_bytes=None, gpus=0)


def test_families_with_gpus_have_them_and_others_do_not() -> None:
    for name, profile in shipped_profiles().items():
        has_gpus = name.startswith(("ml.p", "ml.g"))
        assert (profile.gpus > 0) == has_gpus, name


def test_a_larger_size_of_a_family_is_never_smaller() -> None:
    families: dict[str, list[InstanceProfile]] = {}
    for name, profile in shipped_profiles().items():
        if name != LOCAL:
            families.setdefault(name.rpartition(".")[0], []).append(profile)
    for family, profiles in families.items():
        sizes = sorted((each.vcpus or 0, each.memory_bytes or 0) for each in profiles)
        assert [memory for _, memory in sizes] == sorted(memory for _, memory in sizes), family
        assert len(set(sizes)) == len(sizes), family
