"""Where and in which arithmetic things are computed: device, precision, memory, random draws.

In here: what resolves `auto` on this machine, and the facts about it that may change a bit of a result.
Not in here: networks.
"""
