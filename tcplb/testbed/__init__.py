"""Echo backends and a balancer as processes of ours, for `tcplb bench` and `tcplb demo`.

It knows the balancer only as its users do: by its command line, its signals and its logs.
"""
