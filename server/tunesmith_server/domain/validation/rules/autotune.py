"""What Autotune asks of a request: to be on where it has work to do, and to find some.

These rules see a request in which Autotune has chosen what it could. AutoParameters are left in it
only where something is wrong with them, so that the request is refused in its author's terms.
"""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith_server.domain.hints import choose_range
from tunesmith_server.domain.validation.draft import Draft
from tunesmith_server.domain.validation.rules.hyperparameters import MAX_TUNED
from tunesmith_server.domain.validation.rules.strategy import GRID
from tunesmith_server.domain.validation.search_space import Finding, tuned_names
from tunesmith_server.domain.validation.wording import excerpt


def auto_parameters_need_autotune(draft: Draft) -> Iterator[Finding]:
    """Ranges are chosen by the server only where it was asked to choose."""
    for space in draft.spaces:
        if space.ranges.auto_parameters and not draft.has_autotune:
            yield Finding(
                path=f"{space.path}.AutoParameters",
                message="AutoParameters need Autotune with the Mode Enabled; give that, or ranges "
                f"in the other members of {space.path}",
            )


def autotune_finds_something_to_tune(draft: Draft) -> Iterator[Finding]:
    """Autotune lays ranges around hints, or takes them from a specification, but invents none."""
    if draft.request.autotune.mode != job_pb.AUTOTUNE_MODE_ENABLED:
        return
    only = (
        "true or false as ValueHint" if _is_grid(draft) else "a number, true or false as ValueHint"
    )
    for space in draft.spaces:
        if not space.ranges.auto_parameters and not tuned_names(space.ranges):
            yield Finding(
                path=space.path,
                message="Autotune finds no hyperparameter that it can tune; give a range, or "
                f"AutoParameters with {only}, or register the algorithm's hyperparameters in "
                "tunesmith.toml, [[algorithms.NAME.hyperparameters]]",
            )


def auto_parameters_of_callers_are_tuned(draft: Draft) -> Iterator[Finding]:
    """A caller that runs the trials knows its constants: there is no member to keep them in."""
    if draft.definitions or not draft.has_autotune:
        return
    for space in draft.spaces:
        autos = space.ranges.auto_parameters
        for index, auto in enumerate(autos):
            path = f"{space.path}.AutoParameters[{index}]"
            if not draft.is_sound(path) or not auto.name:
                continue
            if choose_range(auto.name, auto.value_hint, is_grid=_is_grid(draft)) is None:
                yield Finding(
                    path=path,
                    message=f"Hyperparameter {excerpt(auto.name)!r} is not tuned for the ValueHint "
                    f"{excerpt(auto.value_hint)!r}, and with trials that the caller runs there are "
                    "no static hyperparameters to keep it in; leave it out, or give it a range",
                )
        count = len(tuned_names(space.ranges)) + len(autos)
        if autos and count > MAX_TUNED and draft.is_sound(space.path):
            yield Finding(
                path=f"{space.path}.AutoParameters",
                message=f"{count} hyperparameters are to be tuned; at most {MAX_TUNED} can be, and "
                "with trials that the caller runs there are no static hyperparameters to keep the "
                "rest in",
            )


def _is_grid(draft: Draft) -> bool:
    return draft.config.strategy == GRID
