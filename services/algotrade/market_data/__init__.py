"""Market data: feeds become numbered ticks in the log, in the windows and in streams."""
