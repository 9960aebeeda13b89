# The image of runs and their worker: git, Python and every package of the pipeline; no data, no weights, no secret.
#   docker build --file deploy/worker.Dockerfile --tag graft-worker .      (at the repository's root)
# For GPUs take the torch build of your driver.
ARG PYTHON=python:3.11-slim
FROM ${PYTHON}
# Debian's git of that image; a pinned version would vanish from its archive with the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git openssh-client \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /tmp/requirements.lock
RUN python -m pip install --no-cache-dir --requirement /tmp/requirements.lock
LABEL org.opencontainers.image.title="graft-worker" \
      org.opencontainers.image.description="Adapts, judges and publishes models for Graft."
ENV PYTHONUNBUFFERED=1 \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30
USER 1000:1000
WORKDIR /graft/checkout
STOPSIGNAL SIGTERM
# It is alive while its process is; Prefect's server sees by its heartbeat whether it works.
HEALTHCHECK NONE
ENTRYPOINT ["prefect", "worker", "start", "--pool", "graft"]
