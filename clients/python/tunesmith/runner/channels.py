"""Input channels in File mode: copied into the trial's directory before its program starts.

Only ``S3Prefix`` sources, a file or a directory with all that is in it, as they are: not compressed,
not wrapped, not sharded. Everything else is refused by name.
"""

from __future__ import annotations

from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.locations import Buckets
from tunesmith.runner.storage import Storage, storage_of_uri
from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb


def source_of_channel(
    channel: definition_pb.Channel,
    default_mode: definition_pb.TrainingInputMode.ValueType,
    *,
    buckets: Buckets,
) -> Storage:
    """Find where a channel's data are.

    Args:
        channel: The channel.
        default_mode: The trial's, for a channel without its own.
        buckets: This runner's.

    Raises:
        TrialFailure: The channel asks for what this runner does not do.
    """
    source = channel.data_source.s3_data_source
    refusals = (
        (
            (channel.input_mode or default_mode)
            not in (
                definition_pb.TRAINING_INPUT_MODE_UNSPECIFIED,
                definition_pb.TRAINING_INPUT_MODE_FILE,
            ),
            "InputMode: only File",
        ),
        (
            channel.compression_type
            not in (
                definition_pb.COMPRESSION_TYPE_UNSPECIFIED,
                definition_pb.COMPRESSION_TYPE_NONE,
            ),
            "CompressionType: only None",
        ),
        (
            channel.record_wrapper_type
            not in (definition_pb.RECORD_WRAPPER_UNSPECIFIED, definition_pb.RECORD_WRAPPER_NONE),
            "RecordWrapperType: only None",
        ),
        (channel.HasField("shuffle_config"), "ShuffleConfig: none"),
        (not channel.data_source.HasField("s3_data_source"), "DataSource: only S3DataSource"),
        (
            source.s3_data_type != source_pb.S3_DATA_TYPE_S3_PREFIX,
            "S3DataType: only S3Prefix",
        ),
        (
            source.s3_data_distribution_type
            not in (
                source_pb.S3_DATA_DISTRIBUTION_UNSPECIFIED,
                source_pb.S3_DATA_DISTRIBUTION_FULLY_REPLICATED,
            ),
            "S3DataDistributionType: only FullyReplicated",
        ),
    )
    for refused, rule in refusals:
        if refused:
            raise TrialFailure(
                FailureKind.CLIENT,
                f"channel {channel.channel_name!r} asks for what this runner does not do; {rule} "
                "is possible",
            )
    member = f"S3Uri of channel {channel.channel_name!r}"
    return storage_of_uri(source.s3_uri, member=member, buckets=buckets)
