"""Say of a training job what an optimiser is to know of it, as a store has to."""

from __future__ import annotations

from tunesmith_server.domain.history import Outcome
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial


def outcome_of(trial: Trial) -> Outcome:
    return Outcome(
        index=trial.index,
        suggestion=Suggestion(parameters=trial.parameters, definition_name=trial.definition_name),
        status=trial.status,
        failure_kind=trial.failure_kind,
        objective_value=trial.objective_value,
        modified_at=trial.modified_at,
        is_resting=trial.is_paused,
    )
