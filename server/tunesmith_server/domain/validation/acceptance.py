"""Accept or refuse whole requests."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.errors import InvalidRequest, Violation
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.validation.constraints import check_and_cut, check_unknown_members
from tunesmith_server.domain.validation.draft import read_draft
from tunesmith_server.domain.validation.order import in_request_order
from tunesmith_server.domain.validation.rules.catalogue import check_rules
from tunesmith_server.domain.validation.rules.tags import repeated_keys, reserved_keys
from tunesmith_server.domain.validation.unserved import check_served


def check_request(message: Message) -> None:
    """Refuse a request of any operation that breaks its contract.

    Raises:
        InvalidRequest: With all that is wrong.
    """
    constraints, bounded = check_and_cut(message)
    found = [*constraints, *check_unknown_members(bounded)]
    if isinstance(bounded, pb.AddTagsRequest):
        found += _wrong_tags(bounded)
    if found:
        raise InvalidRequest(in_request_order(message, found))


def validate_create(request: pb.CreateHyperParameterTuningJobRequest, *, site: Site) -> None:
    """Refuse a create request that this site cannot serve as it stands.

    Raises:
        InvalidRequest: With all that is wrong: constraints, rules, and what is not served yet.
    """
    constraints, bounded = check_and_cut(request)
    broken = frozenset(violation.path for violation in constraints)
    rules = check_rules(read_draft(bounded, site=site, broken=broken))
    # What SageMaker would refuse too is no matter of what this release serves.
    wrong = broken | {violation.path for violation in rules}
    unserved = [each for each in check_served(bounded) if each.path not in wrong]
    found = (*constraints, *check_unknown_members(bounded), *rules, *unserved)
    if found:
        raise InvalidRequest(in_request_order(request, found))


def _wrong_tags(request: pb.AddTagsRequest) -> Iterator[Violation]:
    for finding in repeated_keys(request.tags):
        yield Violation(path=finding.path, message=finding.message, rule="tag_keys_are_different")
    for finding in reserved_keys(request.tags):
        yield Violation(path=finding.path, message=finding.message, rule="tag_keys_are_free")
