"""What each instance type asks of a host: vCPUs, memory and GPUs.

The `ml.*` types are a table of facts, `instance_types.toml`; a site adds types of its own (`site`).
Placing a trial by these numbers is the engine's work.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

LOCAL = "local"
"""The instance type that asks for nothing in particular: a share of whatever host there is."""

_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceProfile:
    """Say what an instance type asks of a host.

    Attributes:
        vcpus: Hardware threads; None for a share of the host.
        memory_bytes: Main memory; None for a share of the host.
        gpus: NVIDIA GPUs, at least 0. Binding, where the other two are so only on a runner that
            says so.
    """

    vcpus: int | None
    memory_bytes: int | None
    gpus: int


@functools.cache
def shipped_profiles() -> Mapping[str, InstanceProfile]:
    """Read the table of `ml.*` types, and `local`, once."""
    text = files(__package__).joinpath("instance_types.toml").read_text(encoding="utf-8")
    profiles = {LOCAL: InstanceProfile(vcpus=None, memory_bytes=None, gpus=0)}
    for name, facts in tomllib.loads(text).items():
        profiles[name] = InstanceProfile(
            vcpus=facts["vcpus"],
            memory_bytes=int(facts["memory_gib"] * _GIB),
            gpus=facts["gpus"],
        )
    return profiles
