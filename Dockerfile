# syntax=docker/dockerfile:1
# The image: one static binary on distroless/static, as user 65532, for a read-only root without a shell.
# docs/image.md says how to build it for several architectures, list its contents and sign it.
#
#   docker build -t crossfade .                                     # or buildah bud, podman build
#   docker build --build-arg AUDITABLE=0 -t crossfade .             # without the dependency list inside the binary
#   docker build --build-arg PROFILE=release -t crossfade .         # built sooner, an eighth larger

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src

# BuildKit and buildah set TARGETARCH; each architecture is built on itself (or emulated), never cross-compiled.
ARG TARGETARCH
# Built by cargo-auditable (0.7.x, installed here), so that scanners read the dependencies from the binary. 0: not.
ARG AUDITABLE=1
# Of Cargo.toml: `image` or `release`.
ARG PROFILE=image

COPY . .

# Registry and dependencies live in cache mounts: a change in src/ compiles this crate alone.
# glibc is linked in: since 2.34 it resolves names (files, dns) without loading a library.
RUN --mount=type=cache,id=crossfade-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=crossfade-target-${TARGETARCH},target=/build,sharing=locked \
    set -eu; \
    case "${TARGETARCH:-$(uname -m)}" in \
      amd64 | x86_64) triple=x86_64-unknown-linux-gnu ;; \
      arm64 | aarch64) triple=aarch64-unknown-linux-gnu ;; \
      *) echo "no build for architecture ${TARGETARCH}" >&2; exit 1 ;; \
    esac; \
    export RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=/build; \
    set -- cargo; \
    if [ "${AUDITABLE}" = 1 ]; then \
      RUSTFLAGS='' cargo install --locked --root /build/tools --version '^0.7' cargo-auditable; \
      export PATH="/build/tools/bin:${PATH}"; set -- cargo auditable; \
    fi; \
    "$@" build --locked --profile "${PROFILE}" --bin crossfade --target "${triple}"; \
    install -D -m 0555 "/build/${triple}/${PROFILE}/crossfade" /out/crossfade

FROM gcr.io/distroless/static-debian12:nonroot

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="crossfade" \
      org.opencontainers.image.description="A sidecar proxy that moves a live WebSocket service to Supabase Realtime with a fader instead of a cut-over" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="gcr.io/distroless/static-debian12:nonroot"

COPY --from=build /out/crossfade /crossfade

# Completions come from the binary, on the machine whose shell wants them:
#   docker run --rm crossfade completions bash > ~/.local/share/bash-completion/completions/crossfade

# Numeric, so that the kubelet can check runAsNonRoot.
USER 65532:65532
EXPOSE 8080 9464
# For docker and compose; Kubernetes asks /healthz and /readyz itself.
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s --retries=3 CMD ["/crossfade", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/crossfade"]
