"""The state machine of a tuning job: one event in, the next state and effects out.

``step`` is the only place that decides what becomes of a tuning job or a training job. It reads
no clock, draws no random number and waits for nothing, so that whole tuning jobs run in
simulation. ``domain/invariants.py`` says what must hold after every step.

Sources: the API's statuses and counters; ``docs/lifecycle.md`` draws both tables and names the
choices that SageMaker's documentation leaves open.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, assert_never

from tunesmith_server.domain import caller_steps, counting, trial_steps, views
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.completion import Criterion
from tunesmith_server.domain.errors import AlreadyCompleted, InvalidState
from tunesmith_server.domain.frozen import replace
from tunesmith_server.domain.names import training_job_name
from tunesmith_server.domain.states import (
    Cause,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import (
    WAITS_FOR_CALLER,
    WAITS_FOR_RUNNER,
    Trial,
    launch,
)
from tunesmith_server.domain.tuning_job import Closing, JobState, Promotions

#: A tuning job gives up once this many training jobs have ended and none has succeeded.
ATTEMPTS_WITHOUT_SUCCESS: Final = 5

#: SageMaker's words for that, also when the tuning job was allowed fewer training jobs.
NO_SUCCESS: Final = (
    "No training job succeeded after {attempts} attempts. "
    "Please take a look at the training job failures to get more details."
)

#: StatusMessage of a paused training job whose tuning job ends.
NOT_PROMOTED: Final = "Training job stopped: it was paused when its tuning job ended"

Step = tuple[JobState, list[fx.Effect]]


def step(state: JobState, event: ev.Event, now: datetime) -> Step:
    """Decide what an event does to a tuning job.

    An event that comes too late (a report under an old lease, a suggestion for a tuning job that
    ends) changes nothing and is no error: delivery is at least once.

    Args:
        state: The tuning job before the event.
        event: What happened.
        now: When it is being decided. A clock that was set back is taken to stand still.

    Returns:
        The tuning job after the event, and what must be done, in order: durable effects, which
        are committed with it, and commands, for after the commit.

    Raises:
        InvalidState: A caller asked for what the current status does not allow.
        AlreadyCompleted: A caller's trial has ended.
        Conflict: A caller's trial was taken back.
        SequenceGap: A runner's report does not follow the last one.
        IllegalTransition: A bug: the tables do not allow what was about to happen.
    """
    machine = _Machine(state, max(now, _latest_change(state)))
    machine.handle(event)
    machine.settle()
    return machine.state, machine.effects


def _latest_change(state: JobState) -> datetime:
    """Give the time before which nothing can happen any more."""
    changes = [trial.modified_at for trial in state.trials.values()]
    return max([state.job.modified_at, *changes])


class _Machine:
    """Collect the changes and effects of one step."""

    def __init__(self, state: JobState, now: datetime) -> None:
        self.state = state
        self.effects: list[fx.Effect] = []
        self._before = state.job
        self._now = now
        self._cause = Cause.ENGINE
        self._met: Criterion | None = None

    def handle(self, event: ev.Event) -> None:
        """Apply the event itself."""
        match event:
            case ev.Recovered():
                self._recover()
            case ev.SuggestionsArrived() | ev.SuggestionsFailed() | ev.PromotionsArrived():
                self._take_answer(event)
            case ev.TrialAssigned():
                self._assigned(event)
            case ev.TrialReported() | ev.RunnerLost():
                self._cause = Cause.RUNNER
                self._held(event)
            case (
                ev.TrialsRequested()
                | ev.MetricsReported()
                | ev.TrialCompleted()
                | ev.LeaseExpired()
            ):
                self._by_caller(event)
            case ev.JobStopRequested():
                self._stop_job()
            case ev.TrialStopRequested() | ev.TrialFellBehind() | ev.TrialReachedRung():
                self._stop_or_pause(event)
            case ev.ConvergenceDetected() | ev.DeadlinePassed():
                self._search_is_over(event)
            case _:
                assert_never(event)

    def settle(self) -> None:
        """Draw the consequences: end the tuning job, or see that free places are taken."""
        self._close_if_done()
        self._end_if_closed()
        if self.state.job != self._before:
            at = self._now
            self.state = replace(self.state, job=replace(self.state.job, modified_at=at))
            self.effects.append(fx.AnnounceState(state=self.state))
        self._fill_places()

    # --- events ---------------------------------------------------------------------------

    def _recover(self) -> None:
        if self.state.spec.lease_terms is not None:
            return  # callers come by themselves
        for trial in self.state.trials.values():
            if trial.secondary_status is SecondaryStatus.PENDING:
                self.effects.append(fx.Enqueue(trial=trial))

    def _take_answer(
        self, event: ev.SuggestionsArrived | ev.SuggestionsFailed | ev.PromotionsArrived
    ) -> None:
        """Apply the answer to a question of ours."""
        if isinstance(event, ev.SuggestionsArrived):
            self._launch(event)
        elif isinstance(event, ev.SuggestionsFailed):
            self._suggestions_failed(event)
        else:
            self._promote(event)

    def _launch(self, event: ev.SuggestionsArrived) -> None:
        wanted = self._answered()
        if not wanted:
            return
        for suggestion in event.suggestions[:wanted]:
            trial = self._next_trial(suggestion, WAITS_FOR_RUNNER)
            self._put(trial, is_new=True)
            self.effects.append(fx.Enqueue(trial=trial))
        if event.exhausted:
            self._exhaust()

    def _next_trial(self, suggestion: Suggestion, message: str) -> Trial:
        job = self.state.job
        index = job.launched + 1
        self.state = replace(self.state, job=replace(job, launched=index))
        return launch(
            name=training_job_name(self.state.spec.name, index, job.created_at),
            index=index,
            definition_name=suggestion.definition_name,
            parameters=suggestion.parameters,
            message=message,
            now=self._now,
        )

    def _exhaust(self) -> None:
        self.state = replace(self.state, job=replace(self.state.job, exhausted=True))
        self._ask_anew()  # more may go on where nothing is to be launched

    def _suggestions_failed(self, event: ev.SuggestionsFailed) -> None:
        # Where callers run the trials, the question is the engine's own.
        lends = self.state.spec.lease_terms is not None and self.state.goes_on
        if self._answered() or lends:
            reason = f"InternalServerError: {event.reason}"[: trial_steps.FAILURE_REASON_LENGTH]
            self._close(Closing(status=TuningJobStatus.FAILED, reason=reason))

    def _answered(self) -> int:
        """Close the question for suggestions; tell how many are still wanted."""
        wanted = self.state.suggestions_wanted
        self.state = replace(self.state, suggestions_wanted=0)
        return wanted if self.state.goes_on else 0

    def _assigned(self, event: ev.TrialAssigned) -> None:
        trial = self.state.trials.get(event.trial_name)
        if trial is None or trial.secondary_status is not SecondaryStatus.PENDING:
            return  # stopped in the meantime
        self._put(trial_steps.assigned(trial, event, self._now).trial)

    def _held(self, event: ev.TrialReported | ev.RunnerLost) -> None:
        """Apply an event that only the holder of the current lease may cause."""
        trial = self.state.trials.get(event.trial_name)
        if trial is None or trial.lease is None or trial.lease.token != event.lease_token:
            return
        retry_terms = self.state.spec.definition_of(trial).retry_terms
        if isinstance(event, ev.TrialReported):
            moved = trial_steps.reported(trial, event, self._now, retry_terms)
        else:
            moved = trial_steps.runner_lost(trial, event, self._now, retry_terms)
        if moved.trial is not trial:  # else it was known already
            self._put(moved.trial, moved.effects, missing=moved.missing)

    def _by_caller(
        self,
        event: ev.TrialsRequested | ev.MetricsReported | ev.TrialCompleted | ev.LeaseExpired,
    ) -> None:
        """Apply what a caller that runs trials does, or fails to do."""
        # Who holds a trial is its runner; who asks for one is a caller yet.
        self._cause = Cause.RUNNER
        if isinstance(event, ev.TrialsRequested):
            self._cause = Cause.CALLER
            self._lend(event)
        elif isinstance(event, ev.LeaseExpired):
            self._lease_expired(event)
        else:
            self._called(event)

    def _lend(self, event: ev.TrialsRequested) -> None:
        """Hand trials to a caller: those that wait, then new ones, as far as the limits go."""
        state = self.state
        if not state.goes_on:
            return
        wanted = event.count - len(state.held_by(event.client_id))
        waiting = [trial for trial in state.trials.values() if trial.lease is None]
        for trial in sorted(waiting, key=lambda each: each.index)[: max(0, wanted)]:
            moved = caller_steps.lent(trial, event.client_id, self._now)
            self._put(moved.trial, moved.effects)
        if event.first_index != state.job.launched + 1:
            return  # chosen for a launch that has taken place
        if event.ended not in (None, state.job.counters.ended):
            return  # chosen without what has ended since
        new = event.configurations[: min(max(0, wanted - len(waiting)), state.launchable)]
        for parameters in new:
            trial = self._next_trial(Suggestion(parameters=parameters), WAITS_FOR_CALLER)
            moved = caller_steps.lent(trial, event.client_id, self._now)
            self._put(moved.trial, moved.effects, is_new=True)
        if event.exhausted and len(new) == len(event.configurations):
            self._exhaust()

    def _called(self, event: ev.MetricsReported | ev.TrialCompleted) -> None:
        """Apply what only the caller that holds the current lease may say, and say so if not."""
        trial = self.state.trials.get(event.trial_name)
        if trial is None:
            raise AlreadyCompleted(event.trial_name)
        caller_steps.check_lease(trial, event.lease_token)
        if isinstance(event, ev.MetricsReported):
            moved = caller_steps.metrics_reported(trial, event, self._now)
        else:
            metric_name = self.state.spec.definition.metric_name
            moved = caller_steps.completed(trial, event, metric_name, self._now)
        if moved.trial is not trial:
            self._put(moved.trial, moved.effects)

    def _lease_expired(self, event: ev.LeaseExpired) -> None:
        trial, terms = self.state.trials.get(event.trial_name), self.state.spec.lease_terms
        if trial is None or trial.lease is None or trial.lease.token != event.lease_token:
            return
        offers_again = terms is not None and terms.offers_again
        moved = caller_steps.lease_expired(trial, self._now, offers_again=offers_again)
        self._put(moved.trial, moved.effects)

    def _search_is_over(self, event: ev.ConvergenceDetected | ev.DeadlinePassed) -> None:
        if isinstance(event, ev.ConvergenceDetected):
            self._converged()
            return
        self._cause = Cause.CLOCK
        if self.state.deadline is not None and self._now >= self.state.deadline:
            self._complete(Criterion.MAX_RUNTIME)

    def _converged(self) -> None:
        job = self.state.job
        if not self.state.goes_on or job.converged_at is not None:
            return
        self.state = replace(self.state, job=replace(job, converged_at=self._now))
        if self.state.spec.criteria.on_convergence:
            self._met = Criterion.CONVERGENCE

    def _stop_job(self) -> None:
        self._cause = Cause.CALLER
        job = self.state.job
        if job.status is not TuningJobStatus.IN_PROGRESS:
            raise InvalidState(
                f"The request was rejected because the hyperparameter tuning job is already in "
                f"status {job.status}."
            )
        stopping = job.moved(
            TuningJobStatus.STOPPING, cause=self._cause, now=self._now, name=self.state.spec.name
        )
        self.state = replace(self.state, job=stopping)
        self._close(Closing(status=TuningJobStatus.STOPPED))

    def _stop_or_pause(
        self, event: ev.TrialStopRequested | ev.TrialFellBehind | ev.TrialReachedRung
    ) -> None:
        if not isinstance(event, ev.TrialStopRequested):
            self._judged(event)
            return
        self._cause = Cause.CALLER
        trial = self.state.trials.get(event.trial_name)
        if trial is None:
            raise InvalidState("The request was rejected because the training job has ended.")
        if trial.status is TrainingJobStatus.STOPPING:
            raise InvalidState(
                "The request was rejected because the training job is in status Stopping."
            )
        # Whatever it was judged by, this is not what ends it.
        self._stop(replace(trial, verdict=None, pause_requested=False))

    def _judged(self, event: ev.TrialFellBehind | ev.TrialReachedRung) -> None:
        """Stop or pause a trial for what it has emitted."""
        trial = self.state.trials.get(event.trial_name)
        if trial is None or trial.lease is None or trial.lease.token != event.lease_token:
            return  # it has ended, or begun anew
        if trial.stop_requested:
            return
        if isinstance(event, ev.TrialFellBehind):
            judged = replace(trial, verdict=event.verdict)
            self._stop(judged, f"Stopping the training job early: {event.reason}")
        elif not trial.pause_requested and trial.status is not TrainingJobStatus.STOPPING:
            moved = trial_steps.pausing(trial, trial.lease, event.verdict, self._now)
            self._put(moved.trial, moved.effects)

    def _promote(self, event: ev.PromotionsArrived) -> None:
        """Let paused trials go on that may, as far as there are places."""
        promotions, places = self.state.promotions, self.state.resumable
        if not promotions.is_asked or event.number != promotions.number:
            return  # more is known since
        is_known = len(event.trial_names) <= places
        answered = replace(promotions, is_asked=False, is_known=is_known)
        self.state = replace(self.state, promotions=answered)
        for name in event.trial_names[:places]:
            trial = self.state.trials.get(name)
            if trial is not None and trial.is_paused:
                moved = trial_steps.resumed(trial, self._now)
                self._put(moved.trial, moved.effects)

    # --- consequences ---------------------------------------------------------------------

    def _close_if_done(self) -> None:
        state = self.state
        job, counters = state.job, state.job.counters
        if not state.goes_on:
            return
        any_succeeded = counting.any_succeeded(state)
        if counters.failed >= ATTEMPTS_WITHOUT_SUCCESS and not any_succeeded:
            self._fail(ATTEMPTS_WITHOUT_SUCCESS)
            return
        if self._met is not None:
            self._complete(self._met)
            return
        if not state.has_launched_all or state.placed:
            return
        if state.paused and not state.promotions.is_known:
            return
        # Training jobs that a caller stopped say nothing: without a failure there is none.
        if counters.failed and not any_succeeded:
            self._fail(counters.ended)
        elif job.launched >= state.spec.max_training_jobs:
            self._complete(Criterion.MAX_TRAINING_JOBS)
        else:
            self._complete(Criterion.SPACE_EXHAUSTED)

    def _fail(self, attempts: int) -> None:
        reason = NO_SUCCESS.format(attempts=attempts)
        self._close(Closing(status=TuningJobStatus.FAILED, reason=reason))

    def _complete(self, criterion: Criterion) -> None:
        self._close(Closing(status=TuningJobStatus.COMPLETED, criterion=criterion))

    def _close(self, closing: Closing) -> None:
        """Settle how the tuning job ends, and stop what is still open."""
        self.state = replace(self.state, job=replace(self.state.job, closing=closing))
        for trial in tuple(self.state.trials.values()):
            if not trial.stop_requested:
                self._stop(trial, NOT_PROMOTED if trial.is_paused else None)

    def _end_if_closed(self) -> None:
        job = self.state.job
        if job.closing is None or self.state.trials or job.status.is_terminal:
            return
        ended = job.moved(
            job.closing.status, cause=self._cause, now=self._now, name=self.state.spec.name
        )
        self.state = replace(self.state, job=replace(ended, failure_reason=job.closing.reason))

    def _fill_places(self) -> None:
        """Ask who of the paused trials may go on, and for suggestions where nobody may."""
        state, job = self.state, self.state.job
        if state.spec.lease_terms is not None:
            return  # a trial is launched when a caller asks for it
        if state.promotions.is_asked:
            return
        if state.resumable and not state.promotions.is_known:
            number = state.promotions.number + 1
            self.state = replace(state, promotions=Promotions(number=number, is_asked=True))
            is_last = state.has_launched_all and not state.placed
            self.effects.append(fx.Promote(number=number, is_last=is_last))
            return
        count = 0 if state.suggestions_wanted else state.launchable
        if count > 0:
            self.state = replace(state, suggestions_wanted=count)
            self.effects.append(fx.Suggest(first_index=job.launched + 1, count=count))

    def _ask_anew(self) -> None:
        """Take what was said of who may go on for outdated."""
        number = self.state.promotions.number
        self.state = replace(self.state, promotions=Promotions(number=number))

    def _stop(self, trial: Trial, message: str | None = None) -> None:
        moved = trial_steps.stopped(trial, self._cause, self._now, message)
        self._put(moved.trial, moved.effects)

    def _put(
        self,
        trial: Trial,
        more: tuple[fx.Effect, ...] = (),
        *,
        is_new: bool = False,
        missing: ev.ObjectiveMissing | None = None,
    ) -> None:
        """Take in a trial's new state; once it has ended, into the counters."""
        before = self.state.trials.get(trial.name)
        trials = dict(self.state.trials)
        if trial.status.is_terminal:
            spec = self.state.spec
            trial = trial_steps.concluded(
                trial,
                spec.definition_of(trial).metric_name,
                by_caller=spec.lease_terms is not None,
                missing=missing,
            )
            trials.pop(trial.name, None)
            self.state = replace(self.state, trials=trials)
            job, met = counting.counted(spec, self.state.job, trial)
            self.state = replace(self.state, job=job)
            self._met = self._met or met
        else:
            trials[trial.name] = trial
            self.state = replace(self.state, trials=trials)
        if before is not None and not before.is_paused and (trial.is_paused or trial.ended_at):
            self._ask_anew()  # a place has become free, and there may be more values at rungs
        self.effects.append(fx.SaveTrial(trial=trial, is_new=is_new))
        if before is not None and before.lease is not None and trial.lease is None:
            # Before a new place is looked for, which may be on the same runner.
            instance_id = before.lease.instance_id
            self.effects.append(fx.Release(trial_name=trial.name, instance_id=instance_id))
        self.effects.extend(more)
        if before is None or before.secondary_status is not trial.secondary_status:
            event = views.training_job_event(self.state.spec, trial, self._now)
            self.effects.append(fx.Announce(message=event, trial_name=trial.name))
