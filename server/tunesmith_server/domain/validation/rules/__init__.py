"""Rules across members, each a small function that says what it finds wrong in a request."""
