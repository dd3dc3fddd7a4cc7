"""`python -m app`: starts, watches and stops the service's processes; knows no Flask, no Celery."""
