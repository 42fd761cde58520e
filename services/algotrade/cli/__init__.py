"""The command line: `algotrade …`. Commands import what they need when they run, so that help is quick."""
