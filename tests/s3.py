"""An S3 of the tests' own: moto's server on a free loopback port, in a process of its own.

In a process of its own because moto changes botocore where it is imported.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import boto3

#: moto looks at no credentials; clients want some before they send anything.
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "AKIDMOTO",
    "AWS_SECRET_ACCESS_KEY": "not/a+secret/for-anything-but-moto",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
}

#: Ends with its standard input, however the tests end.
_SERVE: Final = """
import sys
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def moto() -> Iterator[str]:
    """Serve S3 for as long as the context lasts, and give its URL."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def s3_client(url: str) -> Any:  # botocore makes its clients at run time, and has no types
    """Make a client beside the one under test."""
    session = boto3.Session(
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    return session.client("s3", endpoint_url=url)


def content_of(client: Any, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """Give every object's content by key."""
    listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return {
        each["Key"]: client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
        for each in listed
    }
