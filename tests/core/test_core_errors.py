import pickle

import pytest

from tunesmith_core.errors import CoreError, SpaceError, SpaceExhausted


def test_a_space_error_names_the_parameter_and_what_would_be_right() -> None:
    error = SpaceError("lr", "min 3 is above max 2", "min must be at most max")
    assert str(error) == "parameter 'lr': min 3 is above max 2; min must be at most max"
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("error", [SpaceError("lr", "a", "b"), SpaceExhausted(6)])
def test_errors_survive_the_way_between_processes(error: CoreError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy), copy.args) == (type(error), str(error), error.args)
