"""Pages of one mode and of both, and what stands on them: tables, charts, the comparison, likely label errors.

In here: HTML, which is all in `templates/`. A new chart is a function of `charts`, a new table one of `tables`,
handed over in `page.document` and placed in `templates/page.html`.
Not in here: numbers of a single mode (evaluation), what needs a network (explanation).
"""
