"""The surrogate's array work on a GPU; nothing here is imported before a GPU is asked for."""
