# The server of segzoo, for amd64 and arm64, on the CPU:
#
#   docker buildx build --platform linux/amd64 --load -t segzoo .
#   docker buildx build --platform linux/arm64 --load -t segzoo .
#   docker run --rm -p 127.0.0.1:8000:8000 --read-only --tmpfs /tmp --memory 2g \
#     -e SEGZOO_TOKEN="$(python3 -c 'import secrets; print(secrets.token_urlsafe())')" segzoo lite0
#
# It has not been built by the project yet: where it was written there was no engine.

FROM python:3.12-slim-bookworm AS build
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/segzoo \
    && /opt/segzoo/bin/pip install "torch>=2.10" "torchvision>=0.25" --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY src src
COPY plugins/segzoo-lite plugins/segzoo-lite
COPY plugins/segzoo-u2net plugins/segzoo-u2net
RUN /opt/segzoo/bin/pip install ".[serve,onnx]" ./plugins/segzoo-lite ./plugins/segzoo-u2net

FROM python:3.12-slim-bookworm
COPY --from=build /opt/segzoo /opt/segzoo
RUN useradd --uid 10001 --create-home --home-dir /home/segzoo segzoo
USER 10001
WORKDIR /home/segzoo
ENV PATH=/opt/segzoo/bin:$PATH PYTHONUNBUFFERED=1 SEGZOO_HOME=/tmp/segzoo
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["segzoo", "serve", "--host", "0.0.0.0"]
CMD []
