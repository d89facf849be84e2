"""The gRPC front: parse, one call, message."""
