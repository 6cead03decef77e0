"""What `tcplb doctor` looks at: the machine and the config, one module for what belongs together.

A check is a function that returns findings. It reads files below the root of a `Machine`, so that
tests can make one up, and says "cannot tell" of what it cannot read.
"""
