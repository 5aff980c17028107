"""The rows of program events: how they are written, read, finalized and removed.

Four tables hold events by kind; the view `program_events` reads all of them. A market can be rebuilt from its
event rows alone, so they also hold what only the transaction says (`event_context`). `incomplete` records the
transactions that could not be read in full.
"""
