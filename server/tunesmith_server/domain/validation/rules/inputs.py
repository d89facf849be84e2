"""What comes into a trial: channels, and text that a program can be given at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tunesmith_server.domain.validation.draft import Draft
from tunesmith_server.domain.validation.members import Key, MemberPath, walk
from tunesmith_server.domain.validation.search_space import Finding
from tunesmith_server.domain.validation.wording import excerpt


def channels_have_usable_names(draft: Draft) -> Iterator[Finding]:
    """A channel is a directory: its name is its own, and no way out of its parent."""
    for definition in draft.definitions:
        seen: set[str] = set()
        for index, channel in enumerate(definition.message.input_data_config):
            path = f"{definition.path}.InputDataConfig[{index}].ChannelName"
            name = channel.channel_name
            if not name or not draft.is_sound(path):
                continue
            if name in {".", ".."}:
                yield Finding(
                    path=path,
                    message=f"ChannelName {name!r} names no directory of its own; give another",
                )
            if name in seen:
                yield Finding(
                    path=path,
                    message=f"ChannelName {excerpt(name)!r} is taken by an earlier channel; give each its "
                    "own",
                )
            seen.add(name)


def channels_have_one_source(draft: Draft) -> Iterator[Finding]:
    """A channel's data come from one place."""
    for definition in draft.definitions:
        for index, channel in enumerate(definition.message.input_data_config):
            if not channel.HasField("data_source"):
                continue
            source = channel.data_source
            sources = {
                "S3DataSource": source.HasField("s3_data_source"),
                "FileSystemDataSource": source.HasField("file_system_data_source"),
                "DatasetSource": source.HasField("dataset_source"),
            }
            given = [member for member, is_given in sources.items() if is_given]
            if len(given) != 1:
                yield Finding(
                    path=f"{definition.path}.InputDataConfig[{index}].DataSource",
                    message=f"DataSource has {' and '.join(given) or 'nothing'}; give exactly one "
                    f"of {', '.join(sources)}",
                )


def text_has_no_null_character(draft: Draft) -> Iterator[Finding]:
    """Arguments, environment variables and paths end at U+0000: what follows would be lost."""
    for member in walk(draft.request):
        for path, text in _texts(member.path, member.value):
            if "\0" in text:
                yield Finding(
                    path=str(path),
                    message="The text contains the character U+0000, which no program's arguments, "
                    "environment or paths can carry; leave it out",
                )


def _texts(path: MemberPath, value: object) -> Iterator[tuple[MemberPath, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, text in value.items():
            yield path / Key(str(key)), f"{key}{text}"
    elif isinstance(value, Iterable):
        for index, text in enumerate(value):
            if isinstance(text, str):
                yield path / index, text
