# CUDA image: the torch wheel of the package index brings its own CUDA libraries, so a plain Python
# base is enough; the NVIDIA container runtime supplies the driver. The much smaller CPU image is the
# same with torch from the index that TORCH_INDEX_URL names; compose.yaml has both.
FROM python:3.12-slim

ARG TORCH_INDEX_URL=

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    FOOOCUSAPI_HOST=0.0.0.0 \
    FOOOCUS_DB_CONF=sqlite:////app/outputs/database.db

WORKDIR /app

# Dependencies first, so that a change of the code does not install them again.
COPY pyproject.toml README.md LICENSE ./
COPY fooocus_core/__init__.py fooocus_core/__init__.py
COPY fooocus_core/data/clip/LICENSE fooocus_core/data/clip/LICENSE
COPY fooocusapi/__init__.py fooocusapi/__init__.py
RUN if [ -n "$TORCH_INDEX_URL" ]; then \
        pip install --disable-pip-version-check --index-url "$TORCH_INDEX_URL" 'torch>=2.13,<2.14'; \
    fi
RUN pip install --disable-pip-version-check --editable '.[onnx,postgres]'

COPY main.py ./
COPY fooocus_core fooocus_core
COPY fooocusapi fooocusapi
RUN useradd --uid 1000 --create-home fooocus \
    && mkdir -p models outputs \
    && chown fooocus models outputs
USER fooocus

VOLUME ["/app/models", "/app/outputs"]
EXPOSE 8888
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8888/health', timeout=4)"]
ENTRYPOINT ["python", "main.py"]
