"""Which paths of the site's hosts requests may name."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tunesmith.file_uris import path_of_file_uri
from tunesmith_server.domain.site import SUBMIT_DIRECTORY
from tunesmith_server.domain.validation.draft import Definition, Draft
from tunesmith_server.domain.validation.search_space import Finding
from tunesmith_server.domain.validation.wording import excerpt


def file_uris_are_below_the_roots(draft: Draft) -> Iterator[Finding]:
    """Where the site names directories for ``file://``, no path leads past them.

    A runner reads and writes whatever its user may, the server's secrets too. Paths are compared as
    they are written; runners look where links lead.
    """
    roots = draft.site.file_roots
    if roots is None:
        return
    for definition in draft.definitions:
        for path, uri in _uris(definition):
            place = path_of_file_uri(uri)
            if place is None:
                continue  # an s3:// URI, or one that no runner follows
            if ".." not in place.parts and any(place.is_relative_to(root) for root in roots):
                continue
            known = f"below {', '.join(roots)} alone" if roots else "nowhere"
            yield Finding(
                path=path,
                message=f"{path.rpartition('.')[2]} {excerpt(uri)} leads to a path that this site "
                f"does not open to requests: file:// URIs lead {known}, without '..'. Use a bucket "
                "of the site, s3://…, or have the directory listed in tunesmith.toml: [server] "
                'file_roots = ["/a/directory"]',
            )


def _uris(definition: Definition) -> Iterator[tuple[str, str]]:
    path, message = definition.path, definition.message
    for index, channel in enumerate(message.input_data_config):
        where = f"{path}.InputDataConfig[{index}].DataSource.S3DataSource.S3Uri"
        yield where, channel.data_source.s3_data_source.s3_uri
    yield f"{path}.OutputDataConfig.S3OutputPath", message.output_data_config.s3_output_path
    yield f"{path}.CheckpointConfig.S3Uri", message.checkpoint_config.s3_uri
    archive = message.static_hyper_parameters.get(SUBMIT_DIRECTORY, "")
    yield f"{path}.StaticHyperParameters.{SUBMIT_DIRECTORY}", _unquoted(archive)


def _unquoted(value: str) -> str:
    """Read a hyperparameter that may be JSON, as the runner does; the SDK sends texts in quotes."""
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return read if isinstance(read, str) else value
