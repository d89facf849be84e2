"""What can be said of a warm start's parents without looking them up."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith_server.domain.validation.draft import Draft
from tunesmith_server.domain.validation.search_space import Finding


def parents_are_named_once(draft: Draft) -> Iterator[Finding]:
    """Each parent has a name, which is neither another's nor the tuning job's own."""
    seen = {draft.request.hyper_parameter_tuning_job_name.lower(): "the tuning job itself"}
    parents = draft.request.warm_start_config.parent_hyper_parameter_tuning_jobs
    for index, parent in enumerate(parents):
        path = f"WarmStartConfig.ParentHyperParameterTuningJobs[{index}]"
        name_path = f"{path}.HyperParameterTuningJobName"
        name = parent.hyper_parameter_tuning_job_name
        if not draft.is_sound(name_path):
            continue
        if not name:
            yield Finding(
                path=name_path,
                message="HyperParameterTuningJobName is missing; name the parent tuning job",
            )
        elif name.lower() in seen:
            yield Finding(
                path=name_path,
                message=f"{name!r} is {seen[name.lower()]}; name another parent, or leave it out",
            )
        seen.setdefault(name.lower(), "a parent already")
