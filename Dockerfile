# One image for web, worker, beat, agent and flower; the command says which.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
WORKDIR /src
# The lock file alone first: this layer is built again only when a dependency changes.
COPY requirements.lock ./
# Wheels only: the image has no compiler, and never needs one.
RUN /opt/venv/bin/pip install --require-hashes --only-binary=:all: --requirement requirements.lock
COPY telemetry telemetry
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation ./telemetry \
    && /opt/venv/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
# HOME is where programs may leave small files when the root file system is read-only.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin app \
    && install --directory --owner app --group app /var/lib/followthrough
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/followthrough
COPY run.py gunicorn.conf.py ./
COPY app app
RUN python -m compileall -q app
USER app
ENV STATE_DIR=/var/lib/followthrough
VOLUME /var/lib/followthrough
EXPOSE 5000
CMD ["gunicorn", "run:app"]
