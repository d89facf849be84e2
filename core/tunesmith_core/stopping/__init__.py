"""Tell which trials need not go on to their end."""

from tunesmith_core.stopping.median import MedianRule

__all__ = ["MedianRule"]
