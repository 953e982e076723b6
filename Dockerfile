# An image for the CPU with everything of `make setup`, the page in the browser included.
# docs/INSTALL.md shows how to build and run it.
FROM python:3.12-slim-bookworm

# Where pip finds the CPU build of PyTorch; without it, the much larger CUDA build is installed.
ARG PIP_EXTRA_INDEX_URL=""

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

COPY . /opt/wecromcl_d2
# Its first run leaves byte code, which the user of the image could not write.
RUN python /opt/wecromcl_d2/tools/bootstrap.py \
    && /opt/wecromcl_d2/.venv/bin/wecromcl read --help > /dev/null \
    && useradd --create-home --uid 1000 user \
    && mkdir /data \
    && chown user /data

ENV PATH="/opt/wecromcl_d2/.venv/bin:$PATH"
USER 1000
WORKDIR /data
ENTRYPOINT ["wecromcl"]
CMD ["--help"]
