"""Propose hyperparameters: search spaces, designs and, above them, the optimiser.

Pure numeric code: numpy and no clock, no files, no network, no protobuf, no asyncio. What is
random comes from a seed that the caller gives, so the same call gives the same answer.
"""
