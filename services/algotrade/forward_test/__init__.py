"""Paper-trading sessions: a worker steps artefacts over the log of ticks and stores what they did, each thing once."""
