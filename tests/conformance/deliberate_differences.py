"""Where our contract differs from SageMaker's service model on purpose: one table, with reasons.

Every difference that the conformance test finds must be covered by a line here, and every line
must cover a difference. Patterns are compared without the anchors `^(?:` and `)$`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliberate:
    """Allow one kind of difference.

    Attributes:
        aspect: What differs: ``name``, ``missing``, ``extra``, ``type``, ``required``,
            ``minimum``, ``maximum``, ``pattern``, ``finite`` or ``enum``.
        where: SageMaker's shapes, or members as ``Structure.Member``; empty means anywhere.
        sagemaker: What SageMaker has there; None means whatever.
        ours: What stands in our contract instead; None means whatever.
        reason: Why.
    """

    aspect: str
    where: tuple[str, ...] = ()
    sagemaker: str | None = None
    ours: str | None = None
    reason: str


_FILE_URI = r"(https|s3)://([^/]+)/?(.*)|file://(localhost)?/.*"
_MODEL_PACKAGE = r"arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]{9,16}:[0-9]{12}:"

DELIBERATE_DIFFERENCES = (
    Deliberate(
        aspect="name",
        where=("AddTagsInput", "ListTagsInput", "DeleteTagsInput"),
        reason="Requests are named <Operation>Request throughout, as protobuf's linters expect.",
    ),
    Deliberate(
        aspect="name",
        where=("AddTagsOutput", "ListTagsOutput", "DeleteTagsOutput", "(void)"),
        reason="Responses are named <Operation>Response; a void one is an empty message, so that"
        " members can be added.",
    ),
    Deliberate(
        aspect="type",
        where=("TrainingInstanceType", "ProcessingInstanceType"),
        sagemaker="enum",
        ours="string",
        reason="A site adds instance profiles of its own; the server's table of profiles decides.",
    ),
    Deliberate(
        aspect="type",
        sagemaker="float",
        ours="double",
        reason="gRPC callers keep the precision that the trial printed; AWS JSON rounds to float32,"
        " and shows what is beyond as the largest. A target beyond is refused.",
    ),
    Deliberate(
        aspect="finite",
        where=("TuningJobCompletionCriteria.TargetObjectiveMetricValue",),
        reason="A target of NaN is never reached and an infinite one always or never: refused.",
    ),
    Deliberate(
        aspect="extra",
        where=(
            "HyperParameterAlgorithmSpecification.ContainerEntrypoint",
            "HyperParameterAlgorithmSpecification.ContainerArguments",
        ),
        reason="Extension: the command line of a trial. SageMaker has both on training jobs only.",
    ),
    Deliberate(
        aspect="extra",
        where=(
            "CreateHyperParameterTuningJobRequest.TrialLeaseConfig",
            "DescribeHyperParameterTuningJobResponse.TrialLeaseConfig",
        ),
        reason="Extension: tuning jobs whose trials the caller runs, which SageMaker has not.",
    ),
    Deliberate(
        aspect="extra",
        where=("DescribeHyperParameterTuningJobResponse.SuggestionDevice",),
        reason="Extension: whether a GPU computes, which is nobody's business at SageMaker.",
    ),
    Deliberate(
        aspect="extra",
        where=("HyperParameterTuningJobCompletionDetails.CompletionCriterion",),
        reason="Extension: what completed a tuning job, which SageMaker leaves to be guessed.",
    ),
    Deliberate(
        aspect="extra",
        where=(
            "DescribeTrainingJobResponse.ObjectiveFailureReason",
            "HyperParameterTrainingJobSummary.ObjectiveFailureReason",
        ),
        reason="Extension: why a training job ended without an objective; SageMaker has the status.",
    ),
    Deliberate(
        aspect="extra",
        where=(
            "DescribeTrainingJobResponse.StoppingVerdict",
            "HyperParameterTrainingJobSummary.StoppingVerdict",
        ),
        reason="Extension: by what a training job was stopped early; SageMaker does not say.",
    ),
    Deliberate(
        aspect="extra",
        where=("HyperParameterTrainingJobSummary.TrainingTimeInSeconds",),
        reason="Extension: how long it ran, rests left out; SageMaker has it in Describe only.",
    ),
    Deliberate(
        aspect="extra",
        where=("DescribeTrainingJobResponse.TrainingJobDefinitionName",),
        reason="Extension: which of several definitions it runs; SageMaker has it in the summary only.",
    ),
    Deliberate(
        aspect="required",
        where=(
            "AddTagsInput.Tags",
            "HyperParameterTrainingJobSummary.TunedHyperParameters",
            "ListHyperParameterTuningJobsResponse.HyperParameterTuningJobSummaries",
            "ListTrainingJobsForHyperParameterTuningJobResponse.TrainingJobSummaries",
            "ListTrainingJobsResponse.TrainingJobSummaries",
        ),
        reason="May be empty, and protobuf does not tell an empty list or map from an absent one.",
    ),
    Deliberate(
        aspect="pattern",
        where=("ModelArtifacts.S3ModelArtifacts",),
        ours=f"(?:{_FILE_URI})?",
        reason="Required, and empty until the artifact is stored, as SageMaker answers in practice.",
    ),
    Deliberate(
        aspect="pattern",
        where=("S3Uri",),
        ours=_FILE_URI,
        reason="Extension: file:// URIs, so that a laptop needs no object store.",
    ),
    Deliberate(
        aspect="pattern",
        where=("ArnOrName",),
        ours=r"(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?"
        r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?",
        reason="RE2 has no look-behind; the last character is spelt out instead.",
    ),
    Deliberate(
        aspect="pattern",
        where=("TrainingRepositoryCredentialsProviderArn",),
        ours=r"arn:[a-zA-Z0-9\-]+:lambda:[a-zA-Z0-9\-]+:[0-9]{12}:function:.*",
        reason=r"RE2 has no \p{Alnum}, which is ASCII in SageMaker's engine.",
    ),
    Deliberate(
        aspect="pattern",
        where=("ModelPackageGroupArn",),
        ours=_MODEL_PACKAGE + r"model-package-group/[\S]+",
        reason="RE2 repeats at most 1000 times; the maximal length already ends the repetition.",
    ),
    Deliberate(
        aspect="pattern",
        where=("ModelPackageArn",),
        ours=_MODEL_PACKAGE + r"model-package/[\S]+",
        reason="RE2 repeats at most 1000 times; the maximal length already ends the repetition.",
    ),
)

#: RPCs of the tuning service that are no operation of SageMaker's.
EXTENSION_RPCS = {
    "WatchHyperParameterTuningJob": "Extension: events as a stream, where SageMaker has polling.",
}
