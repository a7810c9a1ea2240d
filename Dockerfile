# lowmed in a container. The image needs no network at run time, except for models that you have not mounted.
#
#   docker build -t lowmed .                        CUDA 13, driver 580 or newer
#   docker build -t lowmed --build-arg CUDA=12.6 .  driver 525 or newer; also P100 and V100
#   docker run --rm --gpus all --network none --user "$(id -u):$(id -g)" -v "$PWD:/work" lowmed demo
#
# This file was checked with hadolint, but the image was not built: no container engine was available where it was written.
FROM python:3.11-slim-bookworm

# Triton compiles its launchers at run time.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*

ARG CUDA=13
ARG EXTRAS=dicom
COPY . /src
# The wheels of torch bring CUDA's libraries; PyPI's are for CUDA 13. constraints.txt holds that torch, so 12.6 goes without it.
RUN case "$CUDA" in \
      13*) pip install --no-cache-dir --constraint /src/constraints.txt "/src[$EXTRAS]" ;; \
      12.6) pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cu126 "torch>=2.11,!=2.13.0,<2.15" torchvision \
            && pip install --no-cache-dir "/src[$EXTRAS]" ;; \
      *) echo "CUDA must be 13 or 12.6" >&2; exit 1 ;; \
    esac \
 && rm -rf /src

# HOME is writable for any user of `docker run --user`.
RUN useradd --create-home --home-dir /home/lowmed --uid 1000 lowmed && chmod 1777 /home/lowmed && install -d -o lowmed /work
ENV HOME=/home/lowmed LOWMED_OFFLINE=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1 PYTHONUNBUFFERED=1
USER 1000
WORKDIR /work
ENTRYPOINT ["lowmed"]
CMD ["--help"]
