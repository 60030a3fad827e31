# One image for agents, operator and NATS. It needs no network of its own: the base image and the wheels are given.
# tests/kind/build-images.sh makes both, and calls this.
#
# BASE is any image with Python 3.11 or later and its venv module, such as python:3.13-slim, made for the Python of the wheels.
# The context holds this file and the folders wheels/ (the packages of constraints.txt) and own/ (eventfed itself).
ARG BASE=python:3.13-slim

FROM ${BASE} AS packages
COPY wheels/ /wheels/
RUN python3 -m venv /opt/eventfed \
 && /opt/eventfed/bin/python -m pip install --no-cache-dir --no-index --no-deps /wheels/*.whl \
 && /opt/eventfed/bin/python -m compileall -q /opt/eventfed/lib
COPY own/ /own/
RUN /opt/eventfed/bin/python -m pip install --no-cache-dir --no-index --no-deps /own/*.whl \
 && /opt/eventfed/bin/python -m pip uninstall --yes pip \
 && /opt/eventfed/bin/python -m compileall -q /opt/eventfed/lib

FROM ${BASE}
COPY --from=packages /opt/eventfed /opt/eventfed
ENV PATH=/opt/eventfed/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
CMD ["eventfed", "--help"]
