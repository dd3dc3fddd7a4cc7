"""The outside world: the broker, the results, the mail server."""
