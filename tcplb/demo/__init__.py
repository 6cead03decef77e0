"""What `tcplb demo` shows: echo backends, the balancer and a light load, watched while they run.

`state.py` decides what there is to see and `view.py` draws it; both are pure. `show.py` starts
everything, feeds the state, and stops everything. `controls.py` has what the keys do.
"""
