"""Somebody's project: its package is called app, and it has a module called telemetry."""

from celery import Celery, shared_task
from flask import Flask

from telemetry import GREETING

app = Flask(__name__)
celery = Celery("shop")
celery.config_from_object("celeryconfig")
celery.set_default()


@shared_task(name="shop.greet")
def greet(name):
    return f"{GREETING} {name}"


@app.post("/greet/<name>")
def start(name):
    return {"task_id": greet.delay(name).id}, 202
