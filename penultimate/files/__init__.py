"""Files that appear whole or not at all: text, JSON, CSV, safetensors, and the facts in their metadata.

In here: reading and writing bytes, and what a damaged file is told apart by.
Not in here: what the files mean. Who writes a format of their own keeps it in their own room.
"""
