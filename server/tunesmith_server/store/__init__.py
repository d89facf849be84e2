"""Durability: the store's contract, and the SQLite store."""
