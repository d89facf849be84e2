"""Tunesmith's server: tuning jobs from request to best training job.

Floors, top to bottom (a module imports only from below): ``cli``, ``app``, ``services``,
``engine``, ``store``, ``domain``. ``docs/architecture.md`` has the picture.
"""
