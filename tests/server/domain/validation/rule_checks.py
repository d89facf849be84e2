"""Run one rule on a request, and check what it says."""

from __future__ import annotations

from collections.abc import Callable

from tests.server.domain.create_requests import SITE, CreateRequest
from tunesmith_server.domain.errors import Violation
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.validation.constraints import check_and_cut
from tunesmith_server.domain.validation.draft import read_draft
from tunesmith_server.domain.validation.rules.catalogue import check_rules
from tunesmith_server.domain.validation.search_space import Finding

Edit = Callable[[CreateRequest], object]


def rule_violations(request: CreateRequest, site: Site = SITE) -> tuple[Violation, ...]:
    """List what all rules find, on the premises that the constraints leave."""
    constraints, bounded = check_and_cut(request)
    broken = frozenset(violation.path for violation in constraints)
    return check_rules(read_draft(bounded, site=site, broken=broken))


def found(request: CreateRequest, rule: str, site: Site = SITE) -> list[Finding]:
    """List what one rule finds."""
    return [
        Finding(path=violation.path, message=violation.message)
        for violation in rule_violations(request, site)
        if violation.rule == rule
    ]


def paths(request: CreateRequest, rule: str, site: Site = SITE) -> list[str]:
    """List the paths of what one rule finds."""
    return [finding.path for finding in found(request, rule, site)]
