"""One attempt at a trial, from its assignment to its end.

The order of things is here; each of them is in a module of its own. What happened is reported
through the outbox, in order; the end is returned, so that the agent can free the trial's place
before the server hears of it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from tunesmith.runner import artifacts, channels, contract, data_directory, disk
from tunesmith.runner.checkpoint_keeper import CheckpointKeeper, checkpoint_keeper
from tunesmith.runner.endings import ProgramExit, algorithm_failure, ended, failed
from tunesmith.runner.environment import trial_environment, user_arguments
from tunesmith.runner.errors import (
    PATH_MISTAKES,
    FailureKind,
    TrialFailure,
    failure_of_os_error,
)
from tunesmith.runner.file_roots import check_file_roots
from tunesmith.runner.locations import Buckets
from tunesmith.runner.log_end import lines_at_end
from tunesmith.runner.metrics import MetricPatternError, MetricScanner
from tunesmith.runner.missing_objective import (
    missing_objective,
    objective_name,
    objective_patterns,
)
from tunesmith.runner.outbox import Outbox
from tunesmith.runner.output import OutputPump
from tunesmith.runner.process import TrialProcess, start_process
from tunesmith.runner.s3_client import S3Connection, S3Trial
from tunesmith.runner.scripts import script_command, script_of, unpack_script
from tunesmith.runner.settings import RunnerLimits
from tunesmith.runner.stop_reasons import OUTCOMES, RANKS, StopReason
from tunesmith.runner.threads import Wanted, WorkerThreads, WorkUnwanted
from tunesmith.v1 import runner_service_pb2 as pb

_LOGGER: Final = logging.getLogger(__name__)

#: When the server names no grace, SageMaker's.
_DEFAULT_GRACE_S: Final = 120.0

# The command and the environment together, or a name, are more than the system can carry.
_TOO_MUCH: Final = frozenset({errno.E2BIG, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialHost:
    """Say what the runner gives to every trial."""

    threads: WorkerThreads
    limits: RunnerLimits
    environment: Mapping[str, str]
    buckets: Buckets
    file_roots: tuple[Path, ...] | None
    cpu_count: int
    clock: Callable[[], datetime]


class Trial:
    """Live one attempt at a trial."""

    def __init__(
        self,
        *,
        assignment: pb.TrialAssignment,
        tree: contract.TrialTree,
        outbox: Outbox,
        host: TrialHost,
    ) -> None:
        self._assignment = assignment
        self._tree = tree
        self._outbox = outbox
        self._host = host
        self._reason: StopReason | None = None
        self._failure: TrialFailure | None = None
        self._interrupted = asyncio.Event()
        self._process: TrialProcess | None = None
        self._output: OutputPump | None = None
        self._download_wanted = Wanted()
        self._upload_wanted = Wanted()
        self._keeps_artifacts = False
        self._keeper: CheckpointKeeper | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        own = S3Trial(
            tell=self._tell_from_thread,
            check=lambda _: self._download_wanted.check(),
            is_stopped=lambda: self._reason is StopReason.REQUESTED,
        )
        self._buckets = {
            name: place.of_trial(own) if isinstance(place, S3Connection) else place
            for name, place in host.buckets.items()
        }

    def stop(self, reason: StopReason) -> None:
        """End the trial before its time; one that has ended already is left as it is."""
        if self._reason is None or RANKS[reason] > RANKS[self._reason]:
            self._reason = reason
        self._download_wanted.end()
        self._interrupted.set()
        if reason is StopReason.REVOKED:
            if self._keeper is not None:
                self._keeper.give_up()
            self._kill()

    async def run(self, gpus: tuple[str, ...]) -> pb.TrialEnded | None:
        """Live from STARTING to the end, whatever happens.

        Returns:
            The end, not yet reported; ``None`` for a revoked trial, of which nothing is said.
        """
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch_disk())
            try:
                end = await self._attempt(gpus)
            finally:
                watching.cancel()
        return None if self._reason is StopReason.REVOKED else end

    async def tidy(self) -> None:
        """Remove what an ended trial needs no more."""
        if not self._keeps_artifacts:
            await self._host.threads.run(data_directory.discard, self._tree)

    async def _attempt(self, gpus: tuple[str, ...]) -> pb.TrialEnded:
        try:
            return await self._live(gpus)
        except WorkUnwanted:
            return self._ended_early()
        except TrialFailure as failure:
            return failed(failure)
        except OSError as error:
            doing = "the runner could not run the trial"
            return failed(failure_of_os_error(error, doing=doing, mistakes=_TOO_MUCH))
        except Exception as error:
            _LOGGER.exception("%s ended by an error of the runner", self._name)
            message = f"the runner failed: {type(error).__name__}: {error}"
            return failed(TrialFailure(FailureKind.INTERNAL, message))
        finally:
            if self._process is not None:
                self._process.close()

    async def _live(self, gpus: tuple[str, ...]) -> pb.TrialEnded:
        self._report(pb.TRIAL_STAGE_STARTING)
        assignment, tree, host = self._assignment, self._tree, self._host
        await host.threads.run(check_file_roots, assignment, host.file_roots)
        # Of a bucket it is asked whether it is there.
        place = await host.threads.run(
            artifacts.destination,
            assignment.output_data_config,
            assignment.training_job_name,
            buckets=self._buckets,
        )
        self._keeper = await host.threads.run(
            checkpoint_keeper,
            assignment,
            tree,
            threads=host.threads,
            limits=host.limits,
            buckets=self._buckets,
            tell=self._tell,
        )
        scanner = _scanner(assignment)
        environment = trial_environment(
            assignment,
            tree,
            gpus=gpus,
            cpu_count=host.cpu_count,
            inherited=host.environment,
        )
        await host.threads.run(self._prepare)
        await self._download()
        if self._interrupted.is_set():
            return self._ended_early()
        process = await start_process(
            self._command,
            directory=tree.code,
            environment=environment.variables,
            note=lambda pid: data_directory.note_process(tree, pid),
            limit_s=host.limits.exec_s,
            clock=host.clock,
        )
        self._process = process
        self._report(pb.TRIAL_STAGE_TRAINING)
        if environment.omitted:
            names = ", ".join(environment.omitted)
            self._tell(f"[runner] too long, or not possible, as an environment variable: {names}")
        ending = await self._supervise(process, scanner)
        return await self._explained(await self._conclude(ending, place))

    def _prepare(self) -> None:
        command = self._command
        if not command or any("\0" in part for part in command):
            raise TrialFailure(
                FailureKind.CLIENT, "the command is empty, or holds a NUL: it names no program"
            )
        self._tree.root.mkdir(parents=True, exist_ok=True)
        disk.check_free_space(self._tree.root, self._assignment.volume_size_bytes)
        contract.write_tree(self._tree, self._assignment)

    async def _download(self) -> None:
        assignment, keeper = self._assignment, self._keeper
        mode, buckets = assignment.training_input_mode, self._buckets
        sources = {
            self._tree.data / channel.channel_name: channels.source_of_channel(
                channel, mode, buckets=buckets
            )
            for channel in assignment.input_data_config
        }
        script = script_of(assignment.hyper_parameters)
        if not sources and keeper is None and script is None:
            return
        self._report(pb.TRIAL_STAGE_DOWNLOADING)
        limit_bytes = assignment.volume_size_bytes
        copied_bytes = 0

        def check(more_bytes: int) -> None:
            nonlocal copied_bytes
            copied_bytes += more_bytes
            if limit_bytes and copied_bytes > limit_bytes:
                raise disk.volume_exceeded(copied_bytes, limit_bytes)
            self._download_wanted.check()

        def copy() -> None:
            if script is not None:
                unpack_script(script, self._tree.code, buckets=buckets, check=check)
            for target, source in sources.items():
                source.fetch_tree(target, check=check)
            if keeper is not None:
                keeper.restore(check=check)

        await self._host.threads.run_while(
            self._download_wanted, copy, limit_s=self._host.limits.transfer_s
        )

    async def _supervise(self, process: TrialProcess, scanner: MetricScanner) -> ProgramExit:
        """Carry the program's output until it has ended, by itself or made to."""
        limits = self._host.limits
        loop = asyncio.get_running_loop()
        timer = None
        if self._assignment.HasField("max_runtime"):
            runtime_s = self._assignment.max_runtime.ToTimedelta().total_seconds()
            timer = loop.call_later(runtime_s, self.stop, StopReason.MAX_RUNTIME)
        async with asyncio.TaskGroup() as tasks:
            pumping = tasks.create_task(self._pump(process, scanner))
            exiting = tasks.create_task(process.wait())
            interrupted = tasks.create_task(self._interrupted.wait())
            if self._keeper is not None:
                tasks.create_task(self._keeper.keep())
            await asyncio.wait({exiting, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            by_itself = exiting.done()
            if not by_itself:
                await self._end_process(process, exiting)
            code = await exiting
            if timer is not None:
                timer.cancel()
            interrupted.cancel()
            if self._keeper is not None:
                self._keeper.end()
            # What is still in the pipe is little, and the end must not wait for the server.
            self._outbox.lift_bound()
            await asyncio.wait({pumping}, timeout=limits.end_of_output_s)
            pumping.cancel()
        return ProgramExit(code=code, by_itself=by_itself, started_at=process.started_at)

    async def _end_process(self, process: TrialProcess, exiting: asyncio.Task[int]) -> None:
        """SIGTERM, the grace, SIGKILL, each to the whole group."""
        if self._reason in (StopReason.REQUESTED, StopReason.MAX_RUNTIME):
            self._report(pb.TRIAL_STAGE_STOPPING)
        if self._failure is None and self._reason is not StopReason.REVOKED:
            process.signal_group(signal.SIGTERM)
            await asyncio.wait({exiting}, timeout=self.grace_s)
        process.signal_group(signal.SIGKILL)

    async def _pump(self, process: TrialProcess, scanner: MetricScanner) -> None:
        try:
            with self._tree.log.open("wb", buffering=0) as log:
                pump = self._output = OutputPump(
                    log=log, scanner=scanner, outbox=self._outbox, limits=self._host.limits
                )
                await pump.run(process.output)
        except OSError as error:
            self._fail(failure_of_os_error(error, doing="the runner could not keep the output"))

    async def _conclude(self, ending: ProgramExit, place: artifacts.Destination) -> pb.TrialEnded:
        """Say how the trial ended, after storing its checkpoints and artifacts if it has any."""
        if self._keeper is not None:
            await self._keeper.store()
        reason = None if ending.by_itself else self._reason
        if self._failure is not None:
            return failed(self._failure, ending)
        if reason is None and ending.code != 0:
            return failed(await self._blamed(ending), ending)
        outcome = pb.TRIAL_OUTCOME_COMPLETED
        if reason is not None:
            outcome = OUTCOMES.get(reason, pb.TRIAL_OUTCOME_RETURNED)
        uri = ""
        if outcome != pb.TRIAL_OUTCOME_RETURNED:
            try:
                uri = await self._upload(place)
            except TrialFailure as failure:
                return failed(failure, ending)
        return ended(outcome, ending, model_artifacts_uri=uri)

    async def _blamed(self, ending: ProgramExit) -> TrialFailure:
        """Say why the program failed, by the file that it left or else by its output."""
        text, lines = contract.failure_text(self._tree), list[str]()
        if not text:
            try:
                lines = await self._host.threads.run(lines_at_end, self._tree.log)
            except OSError:
                # An end without its explanation is worth more than none.
                _LOGGER.exception("%s: its output could not be read", self._name)
        is_script = script_of(self._assignment.hyper_parameters) is not None
        return algorithm_failure(ending, text, last_lines=lines, is_script=is_script)

    async def _explained(self, end: pb.TrialEnded) -> pb.TrialEnded:
        """Add what the output held to the end of a program that never emitted its objective."""
        patterns = objective_patterns(self._assignment)
        emitted = frozenset() if self._output is None else self._output.emitted
        is_missing = patterns and objective_name(self._assignment) not in emitted
        if not is_missing or end.outcome == pb.TRIAL_OUTCOME_RETURNED:
            return end
        try:
            missing = await self._host.threads.run(missing_objective, self._tree.log, patterns)
        except Exception:
            # An end without its explanation is worth more than none.
            _LOGGER.exception("%s: its output could not be searched", self._name)
        else:
            end.objective_missing.CopyFrom(missing)
        return end

    async def _upload(self, place: artifacts.Destination) -> str:
        self._report(pb.TRIAL_STAGE_UPLOADING)
        try:
            return await self._host.threads.run_while(
                self._upload_wanted,
                lambda: artifacts.store_artifacts(
                    self._tree, place, check=self._upload_wanted.check
                ),
                limit_s=self._host.limits.transfer_s,
            )
        except OSError as error:
            self._keeps_artifacts = True
            doing = f"the artifacts could not be stored and stay in {self._tree.ml}"
            raise failure_of_os_error(error, doing=doing, mistakes=PATH_MISTAKES) from error

    async def _watch_disk(self) -> None:
        limit_bytes = self._assignment.volume_size_bytes
        if not limit_bytes:
            return
        loop = asyncio.get_running_loop()
        wanted = Wanted()

        def measure() -> int:
            return disk.used_bytes(self._tree.root, check=wanted.check)

        while True:
            began = loop.time()
            used = await self._host.threads.run_while(
                wanted, measure, limit_s=self._host.limits.transfer_s
            )
            if used > limit_bytes:
                self._fail(disk.volume_exceeded(used, limit_bytes))
                return
            # A large tree takes long to measure: a tenth of the time, at most, goes there.
            pause_s = max(self._host.limits.disk_check_s, 9 * (loop.time() - began))
            await asyncio.sleep(pause_s)

    @property
    def _command(self) -> Sequence[str]:
        """Give the program and its arguments; of a script, those that its hyperparameters are."""
        assignment = self._assignment
        script = script_of(assignment.hyper_parameters)
        if script is None:
            return assignment.command
        arguments = user_arguments(assignment.hyper_parameters)
        return script_command(script, assignment.command, arguments)

    @property
    def grace_s(self) -> float:
        """Tell the time between SIGTERM and SIGKILL."""
        if not self._assignment.HasField("stop_grace"):
            return _DEFAULT_GRACE_S
        return self._assignment.stop_grace.ToTimedelta().total_seconds()

    @property
    def _name(self) -> str:
        return self._assignment.training_job_name

    def _report(self, stage: pb.TrialStage.ValueType) -> None:
        self._outbox.append(int(stage))

    def _tell(self, line: str) -> None:
        self._outbox.append(pb.OutputLines(lines=[line[:1000]]))

    def _tell_from_thread(self, line: str) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell, line)

    def _fail(self, failure: TrialFailure) -> None:
        self._failure = self._failure or failure
        self._download_wanted.end()
        self._interrupted.set()
        self._kill()

    def _kill(self) -> None:
        self._upload_wanted.end()
        if self._process is not None:
            self._process.signal_group(signal.SIGKILL)

    def _ended_early(self) -> pb.TrialEnded:
        """Say how a trial ended whose program never ran, or whose artifacts nobody wants."""
        if self._failure is not None:
            return failed(self._failure)
        reason = self._reason or StopReason.DRAINING
        return pb.TrialEnded(outcome=OUTCOMES.get(reason, pb.TRIAL_OUTCOME_RETURNED))


def _scanner(assignment: pb.TrialAssignment) -> MetricScanner:
    try:
        return MetricScanner((d.name, d.regex) for d in assignment.metric_definitions)
    except MetricPatternError as error:
        raise TrialFailure(FailureKind.CLIENT, f"MetricDefinitions: {error}") from error
