# Two images:
#   docker build --target=serve -t recbole-unisid:serve .   an export or a folder of versions over HTTP; neither torch nor RecBole
#   docker build --target=train -t recbole-unisid:train .   everything: prepare, run, export, versions
FROM python:3.12-slim AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
RUN useradd --create-home --uid=1000 app && mkdir /data && chown app /data
WORKDIR /data

FROM base AS serve
RUN pip install "numpy>=1.26,<3" "faiss-cpu>=1.8" "onnxruntime>=1.17" "safetensors>=0.4" "joblib>=1.3" "filelock>=3" \
    "PyYAML>=6.0" "pydantic>=2.7" "typing-extensions>=4.6" "fastapi>=0.110" "fastapi-offline>=1.7" "httptools>=0.6" \
    "prometheus-client>=0.20" "starlette>=1.6" "uvicorn>=0.40" "uvloop>=0.21"
COPY . /src
RUN pip install --no-deps /src && rm -r /src
USER app
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
# docker run -p 8000:8000 -v "$PWD/live:/data/live:ro" recbole-unisid:serve
# Behind another name than localhost: add --allowed_hosts=shop.example.
ENTRYPOINT ["recbole-unisid", "serve", "--host=0.0.0.0", "--port=8000"]
CMD ["--versions=/data/live"]

FROM base AS train
RUN pip install torch --index-url https://download.pytorch.org/whl/cpu
COPY . /src
RUN pip install "/src[offline,export,serve,tune]" && rm -r /src
USER app
# docker run -v "$PWD:/data" --user="$(id -u)" recbole-unisid:train run --model=UniSID --dataset=ml-100k
ENTRYPOINT ["recbole-unisid"]
CMD ["--help"]
