"""Inputs of five kinds that nobody foresaw, and faults of the machine while files are written.

The tests here try a few of each; `python -m robustness` (`.ci/soak`) tries as many as it is told. docs/architecture.md,
"Robustness", says what is tried and what may come of it.
"""
