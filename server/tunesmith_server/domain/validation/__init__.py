"""Say whether a request is acceptable, and if not, all that is wrong with it.

Constraints of single members, rules across members, and what this release serves, in this order.
Every refusal names the member and what would be accepted instead.
"""

from tunesmith_server.domain.validation.acceptance import check_request, validate_create
from tunesmith_server.domain.validation.constraints import check_constraints, warm_up

__all__ = ["check_constraints", "check_request", "validate_create", "warm_up"]
