"""The schema's history. Revisions run at start, in one transaction, by `algotrade.platform.database.migrate`."""
