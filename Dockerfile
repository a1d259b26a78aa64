# Weir in a container: wheels and a virtual environment in the first stage, Python and that environment in the second.
# The root file system may be read-only; nothing is written at run time unless log.access names a file.
#
#   docker build --tag weir --build-arg VERSION=$(git describe --tags) --build-arg REVISION=$(git rev-parse HEAD) .
#   docker run --read-only --publish 8080:8080 --volume ./weir.yaml:/etc/weir/weir.yaml:ro weir
#
# Compiled ahead of time, for half the CPU time of a request; the builder then needs a compiler:
#   docker build --build-arg BUILDER=3.11-bookworm --build-arg HATCH_BUILD_HOOKS_ENABLE=1 --tag weir .
ARG PYTHON=3.11-slim-bookworm
ARG BUILDER=${PYTHON}

FROM python:${BUILDER} AS build
ARG HATCH_BUILD_HOOKS_ENABLE=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY deploy/constraints.txt deploy/
RUN python -m pip wheel --wheel-dir /wheels --only-binary :all: --requirement deploy/constraints.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY proxy proxy
COPY config/weir.yaml config/
RUN python -m pip wheel --wheel-dir /wheels --no-deps . \
 && python -m venv --without-pip /opt/weir \
 && python -m pip --python /opt/weir/bin/python install --no-index --find-links /wheels weir-proxy

FROM python:${PYTHON}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Weir" \
      org.opencontainers.image.description="A rate-limiting reverse proxy for one HTTP/JSON service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/weir /opt/weir
ENV PATH=/opt/weir/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
EXPOSE 8080 9901
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["weir", "healthcheck", "--config", "/etc/weir/weir.yaml"]
ENTRYPOINT ["weir"]
CMD ["run", "--config", "/etc/weir/weir.yaml"]
