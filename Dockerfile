# syntax=docker/dockerfile:1
# unet3d in a container, for CPUs or NVIDIA GPUs:
#   docker build --target cpu --tag unet3d:cpu .
#   docker build --target gpu --tag unet3d:gpu .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" unet3d:cpu train
# The GPU target needs no CUDA but the driver: TensorFlow's wheels bring the libraries.
FROM python:3.11-slim-bookworm AS base
# A cache that any user may write to: with --user, as on clusters, nobody has a home folder.
ENV PATH=/opt/unet3d/bin:$PATH \
    HOME=/tmp/home \
    XDG_CACHE_HOME=/tmp/home/.cache \
    NUMBA_CACHE_DIR=/tmp/home/.cache/numba \
    CUDA_CACHE_PATH=/tmp/home/.cache/cuda \
    MPLCONFIGDIR=/tmp/home/.cache/matplotlib \
    PIP_NO_CACHE_DIR=1 \
    TF_CPP_MIN_LOG_LEVEL=2
RUN mkdir -p /tmp/home/.cache /work && chmod -R 1777 /tmp/home /work && python -m venv /opt/unet3d
WORKDIR /work

FROM base AS source
COPY .ci/install /source/.ci/install
COPY pyproject.toml README.md LICENSE /source/
COPY conf /source/conf
COPY hydra_plugins /source/hydra_plugins
COPY unet3d /source/unet3d

FROM source AS install-cpu
RUN /source/.ci/install formats,export

FROM source AS install-gpu
RUN /source/.ci/install gpu,formats,export

FROM base AS cpu
COPY --from=install-cpu /opt/unet3d /opt/unet3d
USER 1000:1000
ENTRYPOINT ["unet3d"]
CMD ["--help"]

FROM base AS gpu
COPY --from=install-gpu /opt/unet3d /opt/unet3d
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
ENTRYPOINT ["unet3d"]
CMD ["--help"]
