"""The generated stubs of the API."""
