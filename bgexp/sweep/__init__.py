"""Multirun: jobs, effects of settings, Optuna studies, and the page of a sweep."""
