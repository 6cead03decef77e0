"""The load generator: one process a slice, `python -m bench.load JOB`.

It measures the balancer's CPU time and memory itself, because only it knows when the counted work
begins and ends.
"""
