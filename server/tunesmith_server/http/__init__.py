"""The front door for AWS clients: SageMaker's JSON over HTTP, onto the same operations as gRPC."""
