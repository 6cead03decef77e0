"""The load generator under `tcplb bench`. It imports no part of the balancer: it could test any.

`run.py` starts the processes of a run and merges what they measured. In each (`process.py`),
`loop.py` resumes clients, and a client is a script in `clients/` that reads from top to bottom.
"""
