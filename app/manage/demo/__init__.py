"""`python -m app demo`: each route of a running service, with sample data, failures included."""
