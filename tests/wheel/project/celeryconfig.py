import os

broker_url = os.environ["BROKER"]
result_backend = broker_url
