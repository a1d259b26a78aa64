# Weir in a container, compiled ahead of time. The image holds Python, Weir and what it needs: no shell is started, no package
# manager is left, nobody is root, and the root file system may be read-only.
#
#   docker build --tag weir --build-arg VERSION=$(git describe --tags) --build-arg REVISION=$(git rev-parse HEAD) .
#   docker run --read-only --publish 8080:8080 --volume ./conf:/etc/weir:ro weir       # ./conf/weir.yaml; the folder, never the file
#
# A wheel that `make wheel` or a release has built is taken in place of compiling anew: --build-context wheels=dist
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM scratch AS wheels

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_ONLY_BINARY=:all:
WORKDIR /src
# hadolint ignore=DL3008
RUN command -v gcc \
 || { apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; }
COPY deploy/constraints.txt deploy/build-constraints.txt deploy/
RUN python -m venv --without-pip /opt/weir \
 && python -m pip --python /opt/weir/bin/python install --require-hashes --requirement deploy/constraints.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY config/weir.yaml config/
COPY proxy proxy
COPY --from=wheels / /wheels/
RUN ls /wheels/*.whl \
 || { python -m venv /tmp/build \
   && /tmp/build/bin/python -m pip install --require-hashes --requirement deploy/build-constraints.txt \
   && HATCH_BUILD_HOOKS_ENABLE=1 /tmp/build/bin/python -m pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . ; }
RUN python -m pip --python /opt/weir/bin/python install --no-deps --no-index --find-links /wheels weir-proxy \
 && find /opt/weir -name '*.so' -exec strip --strip-unneeded {} + \
 && case "$(/opt/weir/bin/weir --version)" in *'(compiled)') ;; *) exit 1 ;; esac

FROM ${BASE} AS runtime
COPY --from=build /opt/weir /opt/weir
# What installs, compiles, documents or draws, of Python and of Debian; dpkg's list of packages stays for those who scan it.
RUN rm -rf /usr/local/include /usr/local/lib/python3.*/site-packages /usr/local/bin/pip* /usr/lib/python3/dist-packages \
           /usr/lib/python3.*/config-3* /usr/local/lib/python3.*/config-3* /usr/share/python-wheels /usr/bin/pip* \
           /usr/bin/apt* /usr/lib/apt /usr/bin/dpkg* /usr/sbin/dpkg* /usr/bin/gcc* /usr/bin/perl* /usr/share/perl* /usr/lib/*/perl* /usr/include /usr/lib/gcc \
           /usr/libexec /usr/bin/*-linux-gnu-* /usr/lib/*/gprofng /usr/lib/*/ldscripts /usr/lib/*/*.a /usr/lib/*/lib*san.* /usr/lib/*/gconv /usr/share/doc /usr/share/man \
           /usr/share/info /usr/share/locale /usr/share/zoneinfo /usr/share/bash-completion /var/cache /var/lib/apt /var/lib/dpkg/info /var/log \
 && for name in apt asan bfd cc1 ctf db-5 gnutls gprofng hogweed isl mpc mpfr nettle opcodes p11-kit perl unistring; do \
      rm -f /usr/lib/*/lib"${name}"*; \
    done \
 && for library in /usr/local/lib/python3.* /usr/lib/python3.*; do \
      for part in ensurepip idlelib lib2to3 pydoc_data test tkinter turtledemo; do rm -rf "${library:?}/${part}"; done; \
    done

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Weir" \
      org.opencontainers.image.description="A rate-limiting reverse proxy for one HTTP/JSON service" \
      org.opencontainers.image.documentation="https://weir-proxy.github.io/weir/" \
      org.opencontainers.image.source="https://github.com/weir-proxy/weir" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# hadolint ignore=DL3067
COPY --from=runtime / /
ENV PATH=/opt/weir/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
EXPOSE 8080 9901 9902
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s --retries=3 \
    CMD ["weir", "healthcheck", "--config", "/etc/weir/weir.yaml"]
ENTRYPOINT ["weir"]
CMD ["run", "--config", "/etc/weir/weir.yaml"]
