"""Fit a Gaussian process to observations and predict from it."""
