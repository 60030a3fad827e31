# One image for agents, operator and NATS.
#
# From a clone:  docker build --tag eventfed:0.1.0 .
#   Wheels are fetched and made in the first two stages; nothing but docker and a package index is needed.
#   PIP_INDEX_URL names an index of your own. For other platforms: docker buildx build --platform linux/amd64,linux/arm64 .
# From a context that holds wheels/ (the packages of constraints.txt) and own/ (eventfed itself), as
#   tests/kind/build-images.sh makes it: nothing is fetched.
#
# BASE is any image with Python 3.11 or later and its venv module, made for the Python of the wheels if they are given.
# RUNTIME is one with the same Python at the same path and a shell, nothing else.
ARG BASE=python:3.13-slim
ARG RUNTIME=${BASE}

FROM ${BASE} AS packages
ARG PIP_INDEX_URL
# The last source is there in the second kind of context alone.
COPY constraints.txt pyproject.toml wheel[s] /wheels/
RUN python3 -m venv /opt/eventfed && cd /wheels \
 && if ! ls *.whl >/dev/null 2>&1; then \
      /opt/eventfed/bin/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        print(*p['dependencies'], *p['optional-dependencies']['operator'], *p['optional-dependencies']['nats'], sep='\n')" \
        >requirements.txt \
   && /opt/eventfed/bin/python -m pip wheel --no-cache-dir --quiet --constraint constraints.txt \
        --requirement requirements.txt --wheel-dir .; fi
# Of Kubernetes' client only connections and credentials are used, neither models nor one class for each API: 110 MB.
# What others wrote stands there compiled alone, eventfed itself with its sources, for tracebacks that show the lines.
RUN /opt/eventfed/bin/python -m pip install --no-cache-dir --no-compile --no-index --no-deps /wheels/*.whl \
 && cd /opt/eventfed/lib/python3*/site-packages \
 && find kubernetes/client/models kubernetes/client/api kubernetes/aio/client/models kubernetes/aio/client/api \
         -type f ! -name __init__.py -delete \
 && rm -rf kubernetes/docs kubernetes/e2e_test setuptools* pkg_resources _distutils_hack distutils-precedence.pth \
 && find . -depth -type d '(' -name tests -o -name test -o -name __pycache__ ')' -exec rm -rf {} + \
 && find . -type f '(' -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' ')' -delete
RUN cd /opt/eventfed/lib/python3*/site-packages \
 && /opt/eventfed/bin/python -m compileall -q -b -x '/pip/' "$PWD" \
 && find . -name '*.py' ! -path './pip/*' -delete

FROM ${BASE} AS own
ARG PIP_INDEX_URL
COPY . /source/
RUN mkdir -p /own && cd /source \
 && if ls own/*.whl >/dev/null 2>&1; then cp own/*.whl /own/; else \
      python3 -m venv /build && SOURCE_DATE_EPOCH=315619200 \
        /build/bin/python -m pip wheel --no-cache-dir --quiet --no-deps --wheel-dir /own .; fi

FROM packages AS installed
COPY --from=own /own /own/
RUN /opt/eventfed/bin/python -m pip install --no-cache-dir --no-compile --no-index --no-deps /own/*.whl \
 && /opt/eventfed/bin/python -m pip uninstall --yes pip \
 && /opt/eventfed/bin/python -m compileall -q /opt/eventfed/lib/python3*/site-packages/eventfed* \
 && cd /opt/eventfed/bin && find . -type f ! -name eventfed ! -name nats-server -delete

FROM ${RUNTIME}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="eventfed" \
      org.opencontainers.image.description="Makes many Asterisk servers behave as one for voicemail lamps and device state, over NATS" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=installed /opt/eventfed /opt/eventfed
ENV PATH=/opt/eventfed/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# What was left out above is used by nobody.
RUN ["python3", "-c", "import eventfed_cli, eventfed_agent.process.run, eventfed_operator.process; from kubernetes import config; from kubernetes.aio import client, config; config.load_incluster_config, client.ApiClient, client.Configuration()"]
USER 10001:10001
WORKDIR /
CMD ["eventfed", "--help"]
