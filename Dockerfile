# syntax=docker/dockerfile:1
# pairkit with every version of constraints.txt, for a CPU:
#   docker build -t pairkit .
# or for an NVIDIA GPU, with the CUDA packages that torch's wheel on PyPI brings:
#   docker build -t pairkit:cuda --build-arg VARIANT=cuda .
# Runs as the user 1000; mount a folder that it may write to:
#   docker run --rm -v "$PWD/runs:/work/runs" pairkit quickstart
ARG VARIANT=cpu
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY pairkit ./pairkit
COPY pipelines ./pipelines
COPY train ./train
COPY online ./online
COPY data_cards ./data_cards
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels -c constraints.txt .

FROM python:${PYTHON}-slim-bookworm AS base-cpu
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
    TORCH_LOCAL=+cpu

FROM python:${PYTHON}-slim-bookworm AS base-cuda
ENV TORCH_LOCAL=

# hadolint ignore=DL3006
FROM base-${VARIANT} AS final
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
COPY constraints.txt /tmp/constraints.txt
# Each wheel has the version of constraints.txt; the CPU variant takes that of torch without CUDA.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    sed -i "s/^\(torch==.*\)$/\1${TORCH_LOCAL}/" /tmp/constraints.txt \
    && pip install --no-cache-dir -c /tmp/constraints.txt /wheels/*.whl \
    && rm /tmp/constraints.txt \
    && useradd --create-home --uid 1000 pairkit \
    && install -d -o pairkit -g pairkit /work
USER 1000
WORKDIR /work
ENV HF_HOME=/work/.cache/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["pairkit"]
CMD ["--help"]
