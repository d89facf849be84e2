"""Name what the core refuses, so that a caller can act on it.

CoreError
├── SpaceError        a range or a value breaks a rule: change it (also a ValueError)
└── SpaceExhausted    nothing new is left to suggest: stop asking, or widen a range

The arguments of each class are its facts, so errors survive pickling between processes.
"""


class CoreError(Exception):
    """Stand for anything that the core refuses."""


class SpaceError(CoreError, ValueError):
    """Report a range, or a value for it, that breaks a rule; the caller should change it.

    Attributes:
        parameter_name: The parameter it is about; None when it is about the whole space.
        wrong: What was given.
        right: What would be accepted.
    """

    def __init__(self, parameter_name: str | None, wrong: str, right: str) -> None:
        super().__init__(parameter_name, wrong, right)
        self.parameter_name = parameter_name
        self.wrong = wrong
        self.right = right

    def __str__(self) -> str:
        subject = "" if self.parameter_name is None else f"parameter {self.parameter_name!r}: "
        return f"{subject}{self.wrong}; {self.right}"


class SpaceExhausted(CoreError):
    """Report that every configuration has been suggested; the caller should stop asking.

    Attributes:
        suggested: How many distinct configurations there were.
    """

    def __init__(self, suggested: int) -> None:
        super().__init__(suggested)
        self.suggested = suggested

    def __str__(self) -> str:
        if self.suggested == 1:
            return "the only configuration of the search space has been suggested; widen a range"
        return (
            f"all {self.suggested} configurations of the search space have been suggested; "
            f"ask for at most {self.suggested}, or widen a range"
        )
