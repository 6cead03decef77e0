"""Runs the job that is the argument (JSON) and prints what failed; a parent that can be killed."""

from __future__ import annotations

import asyncio
import json
import sys

from tcplb.loadgen.job import Job
from tcplb.loadgen.run import Run


async def main() -> None:
    """Run; print `begun` when it has, and at last the requests and the failures as JSON."""
    run = Run(Job.from_json(sys.argv[1]), processes=2)
    running = asyncio.create_task(run.run())
    await run.begun.wait()
    print("begun", flush=True)  # noqa: T201 - what the test reads
    total = (await running).total
    print(json.dumps([total.requests, total.failures]), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
