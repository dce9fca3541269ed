# bgexp:                docker build -t bgexp .
# bgexp for CUDA:       docker build -t bgexp --build-arg TORCH=cu130 .
# the tracking server:  docker build -t bgexp-tracking --target tracking .   (compose.yaml does that)

FROM python:3.11-slim AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1 UV_SYSTEM_PYTHON=1
RUN pip install uv
WORKDIR /opt/bgexp
COPY requirements.txt ./
# The versions of the lock without its hashes: torch's builds for other devices have other ones.
RUN sed -E '/^ *(#|--hash)/d; s/ *\\$//' requirements.txt > versions.txt
RUN useradd --create-home --uid 1000 bgexp

FROM base AS tracking
RUN uv pip install --constraint versions.txt "mlflow[auth]" boto3 "psycopg[binary]" psutil
COPY cluster cluster
RUN mkdir /state && chown bgexp /state
USER bgexp
VOLUME /state
EXPOSE 5000
ENTRYPOINT ["python", "-m", "cluster.tracking_server", "/state/server", "5000"]

FROM base AS bgexp
# cpu, or a version of CUDA: cu126, cu128, cu130 …
ARG TORCH=cpu
# What opencv-python loads; a bare image has none of it.
RUN apt-get update && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 libxcb1 \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN uv pip install --torch-backend ${TORCH} --constraint versions.txt ".[server]"
USER bgexp
WORKDIR /work
ENTRYPOINT ["bgexp"]
CMD ["--help"]
