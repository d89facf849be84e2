"""Carries decisions out: one coordinator per tuning job, suggestions, runners, watchers."""
