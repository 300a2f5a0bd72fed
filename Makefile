# Verbs of the project. `make` alone prints them.
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.ready
LOCKS  := requirements.lock requirements-bootstrap.lock
SEEDS  ?= 50
SECONDS ?= 600
MINUTES ?= 60
TARGET ?= files
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help env demo dev test check bench crash fuzz model history hostile soak lock clean s3-tests kbs-client

help: ## print the verbs
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

env: $(STAMP) ## make .venv with .venv/bin/demesne from the hash-pinned locks

$(STAMP): $(LOCKS) pyproject.toml sdk/pyproject.toml
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	$(VENV)/bin/uv pip sync --quiet --python $(PY) --require-hashes requirements.lock requirements-bootstrap.lock
	$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation -e sdk -e .
	@touch $@

demo: $(STAMP) ## run the story: two zones, one URI, three answers, on real data
	@$(VENV)/bin/demesne demo

dev: $(STAMP) ## start the embedded zones and leave them running (Ctrl-C stops)
	@$(VENV)/bin/demesne dev --state-dir .demesne-dev

test: $(STAMP) ## run the whole suite, two files at a time (WORKERS=N for others)
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile

check: $(STAMP) ## ruff, mypy, import contracts, doctrine checks
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@PYTHONPATH=.:sdk/src $(VENV)/bin/lint-imports
	@PATH="$(CURDIR)/.bin:$(PATH)" $(VENV)/bin/demesne policy check
	@PATH="$(CURDIR)/.bin:$(PATH)" sh scripts/check-doctrine

model: $(STAMP) ## the real front and an executable model side by side, for long
	@DEMESNE_MODEL_EXAMPLES=400 DEMESNE_MODEL_STEPS=60 $(PY) -m pytest tests/property/test_gateway_model.py -q -p no:randomly

history: $(STAMP) ## concurrent clients of two gateways, disturbed, for SECONDS=600; is there one order of it all?
	@$(PY) -m pytest tests/e2e/test_two_gateways.py -q -s -p no:randomly -k history --history-seconds=$(SECONDS)

hostile: $(STAMP) ## clients that misbehave, at full length
	@DEMESNE_HOSTILE=long $(PY) -m pytest tests/fault/hostile tests/unit/gateway/processes/test_front_server.py -q -s -p no:randomly --timeout 600

fuzz: $(STAMP) ## fuzz readers and verifiers of evidence, SECONDS=600 for each target
	@$(PY) -m tests.fuzz --seconds $(SECONDS) --out docs/results/fuzz.json

soak: $(STAMP) ## mixed load for MINUTES=60; memory and descriptors must not grow
	@$(PY) -m benchmarks.soak --minutes $(MINUTES)

bench: $(STAMP) ## measure; prints medians and ratios, writes benchmarks/out/*.json
	@$(PY) -m benchmarks

s3-tests: $(STAMP) ## run the data plane of ceph/s3-tests; SUITE=DIR with a checkout of it
	@$(PY) -m benchmarks.s3_tests $(if $(SUITE),--suite $(SUITE))

kbs-client: $(STAMP) ## Trustee's own clients against a running zone; KBS_CLIENT=PATH[:PATH] of kbs-client or trustee-attester
	@KBS_CLIENT="$(KBS_CLIENT)" $(PY) -m pytest tests/e2e/test_kbs.py -q -rs -p no:randomly

crash: $(STAMP) ## kill -9 at every persistence call; SEEDS=1000 TARGET=files|servers for the published runs
	@$(PY) -m tests.fault.crash --seeds $(SEEDS) --target $(TARGET) --out docs/results/crash-$(TARGET).json

lock: ## resolve the locks again (needs uv)
	uv pip compile pyproject.toml --extra demo --extra test --extra bench --no-emit-package demesne --generate-hashes --no-header --no-annotate --quiet -o requirements.lock
	uv pip compile pyproject.toml --no-emit-package demesne --generate-hashes --no-header --no-annotate --quiet -o requirements-server.lock
	echo uv | uv pip compile - --generate-hashes --no-header --no-annotate --quiet -o requirements-bootstrap.lock

clean: ## remove what the verbs made
	rm -rf $(VENV) .demesne-demo .demesne-dev benchmarks/out
