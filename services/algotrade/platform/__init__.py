"""What every service shares: settings, log, metrics, errors, server, bus and database."""
