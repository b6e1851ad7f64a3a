# CPU:  docker build --tag medusis .
# GPU:  docker build --tag medusis:cuda --build-arg DEVICE=cuda .
#
# Run it in the folder of your data; add `--gpus all` for a GPU:
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" medusis quickstart
ARG PYTHON=3.11
ARG DEVICE=cpu

FROM python:${PYTHON}-slim-bookworm AS wheel
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY medusis_tf medusis_tf
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:${PYTHON}-slim-bookworm AS cpu
ENV EXTRAS=""

# TensorFlow installs its CUDA libraries by pip; the driver comes from the NVIDIA container toolkit.
FROM python:${PYTHON}-slim-bookworm AS cuda
ENV EXTRAS="[cuda]" \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# hadolint ignore=DL3006
FROM ${DEVICE}
ENV PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir "$(echo /wheel/*.whl)${EXTRAS}" \
    && useradd --create-home --uid 1000 medusis \
    && install --directory --owner=1000 /work
USER 1000
WORKDIR /work
ENTRYPOINT ["medusis"]
CMD ["--help"]
