"""The pure part: states, transitions, limits, rules and names. No await, no SQL, no gRPC."""
