# An image with machinable: docker build -t machinable . && docker run --rm machinable --version
# Run a project:  docker run --rm -v "$PWD:/project" machinable execute COMPONENT --storage ./results
# Another Python: docker build --build-arg PYTHON=3.11 -t machinable .
ARG PYTHON=3.13
FROM python:${PYTHON}-slim

# git: executions record the commit of the project
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE /source/
COPY engine /source/engine
RUN pip install --no-cache-dir /source && git config --system --add safe.directory /project

WORKDIR /project
ENTRYPOINT ["machinable"]
CMD ["--help"]
