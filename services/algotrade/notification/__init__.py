"""Notifications: an inbox for each user, what rules send outside of it, and one stream of all that a screen shows."""
