"""The comparison of the modes: statistics of pairs, likely label errors, and the page that shows it all.

In here: what `compare` writes. A new chart is a function of `charts`, a new table one of `tables`, placed in
`page.document`.
Not in here: numbers of a single mode (evaluation).
"""
