"""Feeds of real venues: each adapter reads its venue's frames, the rest (connection, tape, backfill) is shared."""
