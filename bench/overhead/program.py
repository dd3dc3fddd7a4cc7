"""The program that is measured: a Flask app and a Celery app, with the kit that BENCH_KIT names."""

from __future__ import annotations

import os

from celery import Celery
from flask import Flask, request

from bench.overhead import setups

TASK = "bench.noop"

app = Flask(__name__)
celery = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BACKEND"])
celery.conf.broker_connection_retry_on_startup = True


@app.post("/json")
def answer() -> dict[str, int]:
    return {"sum": request.get_json()["a"] + 1}


@app.post("/publish")
def publish() -> dict[str, str]:
    return {"id": noop.delay().id}


@celery.task(name=TASK)
def noop() -> None:
    pass


setups.ALL[os.environ["BENCH_KIT"]](app, os.environ["BENCH_ROLE"])
