"""``[buckets.NAME]`` and ``[s3]``: the directory that stands for a bucket, or how it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_ALL_OTHERS: Final = "*"


def _usable_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("leave out U+0000, which no path can be given")
    return text


def _usable_endpoint(url: str) -> str:
    fault = endpoint_fault(url)
    if fault is not None:
        raise ValueError(fault)
    return url


def _usable_name(name: str) -> str:
    fault = name_fault(name)
    if fault is not None:
        raise ValueError(fault)
    return name


def endpoint_fault(url: str) -> str | None:
    """Say why no S3 can be at a URL; None if one can."""
    right = "write http:// or https://, a host and a port, such as http://127.0.0.1:9000"
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return right
    if "@" in parts.netloc:
        return "leave the credentials out; they are found where AWS's own tools find them"
    if (
        not is_whole
        or parts.query
        or parts.fragment
        or not url.isprintable()
        or set(url) & {",", " "}
    ):
        return right
    return None


def name_fault(name: str) -> str | None:
    """Say why neither a region nor a profile can be called so; None if one can."""
    if name and name.isprintable() and "," not in name:
        return None
    return "write a name on one line, without a comma"


class S3Section(BaseModel):
    """``[s3]``: opens all buckets that have no section of their own, over the network."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    endpoint_url: Annotated[str, AfterValidator(_usable_endpoint)] | None = None
    region: Annotated[str, AfterValidator(_usable_name)] | None = None
    profile: Annotated[str, AfterValidator(_usable_name)] | None = None

    def members(self) -> Mapping[str, str]:
        """Give what is said of how a bucket is reached."""
        said = {
            "endpoint_url": self.endpoint_url,
            "region": self.region,
            "profile": self.profile,
        }
        return {name: value for name, value in said.items() if value is not None}


class BucketSection(S3Section):
    """``[buckets."NAME"]``: the directory that stands for a bucket, or how it is reached."""

    path: Annotated[str, Field(min_length=1), AfterValidator(_usable_text)] | None = None

    @model_validator(mode="after")
    def _leads_to_one_place(self) -> BucketSection:
        reached = ", ".join(self.members())
        if self.path is not None and reached:
            raise ValueError(
                f"a bucket is a directory or reached over the network; leave out path, or {reached}"
            )
        if self.path is None and not reached:
            raise ValueError(
                "give it a path, its directory, or an endpoint_url, region or profile, by which it "
                "is reached over the network"
            )
        return self


def directories(buckets: Mapping[str, BucketSection], folder: Path) -> Mapping[str, Path]:
    """Give the directories that stand for buckets, by name.

    Args:
        buckets: The sections.
        folder: Where relative paths begin.
    """
    return {
        name: folder / section.path for name, section in buckets.items() if section.path is not None
    }


def reached(
    buckets: Mapping[str, BucketSection], s3: S3Section | None
) -> Mapping[str, Mapping[str, str]]:
    """Give how buckets are reached over the network, by name; ``*`` for all others."""
    found = {name: section.members() for name, section in buckets.items() if section.path is None}
    if s3 is not None:
        found[_ALL_OTHERS] = s3.members()
    return found
