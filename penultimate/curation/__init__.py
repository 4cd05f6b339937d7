"""What is kept of the pictures: checks, near-duplicates, groups, splits, and the findings that people should see.

In here: every decision about which picture is in which split, and why one is left out.
Not in here: fetching, how a picture is decoded, pages.
"""
